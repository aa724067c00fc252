//! What Slack, Discord and Teams accept, as their documentation says.

use serde_json::Value;

use super::bodies_of;

/// In the units of JavaScript.
fn length(text: &Value) -> usize {
    text.as_str().unwrap().encode_utf16().count()
}

fn assert_keys(object: &Value, known: &[&str]) {
    for key in object.as_object().unwrap().keys() {
        assert!(known.contains(&&**key), "{key} of {object}");
    }
}

/// Texts as long as records have them, and the shortest ones.
fn sizes() -> [String; 6] {
    [
        String::new(),
        " ".to_owned(),
        "disk full".to_owned(),
        "<@".repeat(4_000),
        "😀".repeat(2_000),
        "\u{1}".repeat(8_000),
    ]
}

/// <https://docs.slack.dev/reference/block-kit/blocks/>
#[test]
fn slack_accepts_every_message() {
    let text_object = |text: &Value, most| {
        assert_keys(text, &["type", "text", "emoji"]);
        assert_eq!(text["type"], "plain_text");
        assert!((1..=most).contains(&length(&text["text"])), "{text}");
    };
    for size in sizes() {
        for (_, body) in bodies_of("slack", &size) {
            assert_keys(
                &body,
                &[
                    "text",
                    "blocks",
                    "mrkdwn",
                    "parse",
                    "link_names",
                    "unfurl_links",
                    "unfurl_media",
                ],
            );
            assert!((1..=40_000).contains(&length(&body["text"])), "{body}");
            assert_eq!(
                (&body["unfurl_links"], &body["unfurl_media"]),
                (&false.into(), &false.into())
            );
            let blocks = body["blocks"].as_array().unwrap();
            assert!((1..=50).contains(&blocks.len()));
            for block in blocks {
                match block["type"].as_str().unwrap() {
                    "header" => text_object(&block["text"], 150),
                    "section" => text_object(&block["text"], 3000),
                    "context" => {
                        let elements = block["elements"].as_array().unwrap();
                        assert!((1..=10).contains(&elements.len()));
                        for text in elements {
                            text_object(text, 3000);
                        }
                    }
                    other => panic!("{other}"),
                }
            }
        }
    }
}

/// <https://docs.discord.com/developers/resources/message#embed-object-embed-limits>
#[test]
fn discord_accepts_every_message() {
    for size in sizes() {
        for (_, body) in bodies_of("discord", &size) {
            assert_keys(&body, &["content", "embeds", "allowed_mentions"]);
            assert!((1..=2000).contains(&length(&body["content"])), "{body}");
            assert_eq!(body["allowed_mentions"].to_string(), r#"{"parse":[]}"#);
            let embeds = body["embeds"].as_array().unwrap();
            assert_eq!(embeds.len(), 1);
            let embed = &embeds[0];
            assert_keys(
                embed,
                &["color", "description", "fields", "footer", "timestamp"],
            );
            assert!(embed["color"].as_u64().unwrap() <= 0x00ff_ffff);
            assert!(humantime::parse_rfc3339(embed["timestamp"].as_str().unwrap()).is_ok());
            let mut all = length(&embed["footer"]["text"]);
            if let Some(text) = embed.get("description") {
                assert!(length(text) <= 4096);
                all += length(text);
            }
            let fields = embed["fields"].as_array().unwrap();
            assert!(fields.len() <= 25);
            for field in fields {
                assert_keys(field, &["name", "value", "inline"]);
                assert!((1..=256).contains(&length(&field["name"])), "{field}");
                assert!((1..=1024).contains(&length(&field["value"])), "{field}");
                all += length(&field["name"]) + length(&field["value"]);
            }
            assert!(all <= 6000, "{all}");
        }
    }
}

/// <https://adaptivecards.io/explorer/>, and the size of a message in
/// <https://learn.microsoft.com/microsoftteams/limits-specifications-teams>.
#[test]
fn teams_accepts_every_message() {
    let one_of = |value: &Value, words: &[&str]| {
        let word = value.as_str().unwrap_or("default");
        assert!(words.contains(&word), "{value}");
    };
    for size in sizes() {
        for (_, body) in bodies_of("teams", &size) {
            assert!(
                body.to_string().len() <= 28 * 1024,
                "{}",
                body.to_string().len()
            );
            assert_keys(&body, &["type", "summary", "attachments"]);
            assert_eq!(body["type"], "message");
            let attachments = body["attachments"].as_array().unwrap();
            assert_eq!(attachments.len(), 1);
            let kind = "application/vnd.microsoft.card.adaptive";
            assert_eq!(attachments[0]["contentType"], kind);
            let card = &attachments[0]["content"];
            assert_keys(card, &["type", "version", "msteams", "body"]);
            assert_eq!(
                (&card["type"], &card["version"]),
                (&"AdaptiveCard".into(), &"1.4".into())
            );
            for block in card["body"].as_array().unwrap() {
                assert_keys(block, &["type", "inlines", "spacing"]);
                assert_eq!(block["type"], "RichTextBlock");
                one_of(
                    &block["spacing"],
                    &["default", "none", "small", "medium", "large"],
                );
                let runs = block["inlines"].as_array().unwrap();
                assert!(!runs.is_empty());
                for run in runs {
                    assert_keys(
                        run,
                        &[
                            "type", "text", "weight", "size", "color", "fontType", "isSubtle",
                        ],
                    );
                    assert_eq!(run["type"], "TextRun");
                    assert!(run["text"].is_string());
                    one_of(&run["weight"], &["default", "lighter", "bolder"]);
                    one_of(
                        &run["size"],
                        &["default", "small", "medium", "large", "extraLarge"],
                    );
                    one_of(
                        &run["color"],
                        &[
                            "default",
                            "dark",
                            "light",
                            "accent",
                            "good",
                            "warning",
                            "attention",
                        ],
                    );
                    one_of(&run["fontType"], &["default", "monospace"]);
                }
            }
        }
    }
}
