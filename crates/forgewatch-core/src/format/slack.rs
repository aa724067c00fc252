//! A message for an incoming webhook of Slack, in Block Kit: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/>.
//!
//! Text of servers is in `plain_text` objects only, in which Slack reads no markup. `text`, which notifications show, has
//! our own sentence.

use serde_json::{Value, json};

use super::inert::{Markup, inert};
use super::notice::{Mood, Notice};
use super::{Envelope, Message};

/// The limits of a header and of other text objects: 150 and 3,000 characters.
const TITLE: usize = 150;
const TEXT: usize = 3000;

pub(super) fn message(envelope: &Envelope) -> Message {
    let notice = Notice::of(envelope);
    let sign = match notice.mood {
        Mood::Good => "✅ ",
        Mood::Neutral => "",
        Mood::Warning => "⚠️ ",
        Mood::Bad => "❌ ",
    };
    let plain = |text: &str, limit| json!({"type": "plain_text", "emoji": false, "text": inert(text, Markup::Plain, limit)});
    let section = |text: Value| json!({"type": "section", "text": text});
    let title = plain(&format!("{sign}{}", notice.title), TITLE);
    let mut blocks = vec![json!({"type": "header", "text": title})];
    let error = notice.error.iter().filter(|error| !error.trim().is_empty());
    blocks.extend(error.map(|error| section(plain(error, TEXT))));
    if !notice.facts.is_empty() {
        let part = |text: &str| inert(text, Markup::Plain, 170);
        let lines = notice.facts.iter();
        let lines = lines.map(|(name, value)| format!("{}: {}", part(name), part(value)));
        let text = lines.collect::<Vec<_>>().join("\n");
        blocks.push(section(
            json!({"type": "plain_text", "emoji": false, "text": text}),
        ));
    }
    blocks.push(json!({"type": "context", "elements": [plain(&notice.sender, TITLE)]}));
    Message::json(&json!({
        "text": inert(&notice.title, Markup::Slack, TEXT),
        "blocks": blocks,
        "mrkdwn": false,
        "parse": "none",
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
    }))
}
