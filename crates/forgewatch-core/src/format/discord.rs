//! A message for a webhook of Discord, with one embed: <https://docs.discord.com/developers/resources/webhook#execute-webhook>.

use serde_json::json;

use super::inert::{Markup, inert};
use super::notice::{Mood, Notice};
use super::{Envelope, Message};

/// Below Discord's own limits, so that an embed has at most 6,000 characters together.
const CONTENT: usize = 1000;
const DESCRIPTION: usize = 2500;
const NAME: usize = 130;
const VALUE: usize = 280;

pub(super) fn message(envelope: &Envelope) -> Message {
    let notice = Notice::of(envelope);
    let text = |text: &str, limit| inert(text, Markup::Markdown, limit);
    let fields = notice.facts.iter().map(|(name, value)| {
        let value = match text(value, VALUE) {
            // Discord rejects an empty value.
            value if value.is_empty() => "-".to_owned(),
            value => value,
        };
        json!({"name": text(name, NAME), "value": value, "inline": true})
    });
    let mut embed = json!({
        "color": match notice.mood {
            Mood::Good => 0x2e_b8_86,
            Mood::Neutral => 0x80_80_80,
            Mood::Warning => 0xda_a0_38,
            Mood::Bad => 0xd4_00_0e,
        },
        "fields": fields.collect::<Vec<_>>(),
        "footer": {"text": inert(&notice.sender, Markup::Plain, NAME)},
        "timestamp": notice.time,
    });
    if let Some(error) = &notice.error {
        embed["description"] = text(error, DESCRIPTION).into();
    }
    Message::json(&json!({
        "content": text(&notice.title, CONTENT),
        "embeds": [embed],
        "allowed_mentions": {"parse": []},
    }))
}
