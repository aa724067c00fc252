//! A message for Microsoft Teams with an Adaptive Card, for a webhook of Workflows:
//! <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>.
//!
//! All text is in `TextRun`s, which unlike `TextBlock` have no Markdown. A message has at most 28 KB.

use serde_json::{Value, json};

use super::inert::{Markup, inert};
use super::notice::{Mood, Notice};
use super::{Envelope, Message};

const TITLE: usize = 500;
const ERROR: usize = 2000;
const PART: usize = 200;

pub(super) fn message(envelope: &Envelope) -> Message {
    let notice = Notice::of(envelope);
    let color = match notice.mood {
        Mood::Good => "good",
        Mood::Neutral => "default",
        Mood::Warning => "warning",
        Mood::Bad => "attention",
    };
    let text = |text: &str, limit| inert(text, Markup::Plain, limit);
    let title = json!({
        "type": "TextRun",
        "text": text(&notice.title, TITLE),
        "weight": "bolder",
        "size": "medium",
        "color": color,
    });
    let mut body = vec![block(&[title], "default")];
    if let Some(error) = &notice.error {
        let run = json!({"type": "TextRun", "text": text(error, ERROR), "fontType": "monospace"});
        body.push(block(&[run], "small"));
    }
    for (name, value) in &notice.facts {
        let name = format!("{}: ", text(name, PART));
        let name = json!({"type": "TextRun", "text": name, "weight": "bolder"});
        let value = json!({"type": "TextRun", "text": text(value, PART)});
        body.push(block(&[name, value], "none"));
    }
    let sender = format!("{} at {}", text(&notice.sender, PART), notice.time);
    let sender = json!({"type": "TextRun", "text": sender, "isSubtle": true, "size": "small"});
    body.push(block(&[sender], "small"));
    Message::json(&json!({
        "type": "message",
        "summary": text(&notice.title, TITLE),
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": body,
            },
        }],
    }))
}

fn block(inlines: &[Value], spacing: &str) -> Value {
    json!({"type": "RichTextBlock", "inlines": inlines, "spacing": spacing})
}
