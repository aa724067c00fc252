//! Text of an attacker through every format: no mention, no link, no markup, no broken JSON.

use serde_json::Value;

use super::{bodies_of, bodies_of_types, texts};
use crate::event::EventType;
use crate::format::Format;
use crate::job::Outcome;
use crate::sanitize::is_harmful;

const ATTACKS: [&str; 25] = [
    "<@everyone>",
    "@everyone @here",
    "<@123456789>, <@!1>, <@&2>, <#3>, <:e:4>, </cmd:5>",
    "<!channel> <!here> <!everyone>",
    "<!subteam^S012|@team>",
    "<https://evil.example|click>",
    "[click](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "https://evil.example/?q=1",
    "HTTPS://EVIL.example http://[::1]/ ftp://x slack://open discord://x",
    "www.evil.example WWW.EVIL.example",
    "mailto:ceo@evil.example tel:+4912345 javascript:alert(1) data:text/html,x",
    "`code` ```block``` ~~x~~ **b** __u__ *i* _i_ ||spoiler||",
    "```\n@everyone\n```",
    "# title\n## title\n> quote\n- item\n1. item\n+ item",
    "<b>bold</b><script>alert(1)</script><img src=x onerror=alert(1)>",
    "<at>Everyone</at>",
    "&lt;!channel&gt; &amp; &#60;",
    "\"},\"allowed_mentions\":{\"parse\":[\"everyone\"]},{\"x\":\"",
    "{{ 7 * 7 }} {% for x in y %} {# #} ${x} $(x)",
    "\u{1b}[31m\u{9b}2J\u{7}\0\r\n\t",
    "\u{202e}gpj.exe\u{2066}x\u{2069}\u{200f}\u{2028}",
    "\\<@everyone\\> \\[x\\](https://evil.example) \\`x\\`",
    "##vso[task.complete] ##[error]x ::error::x ##teamcity[x]",
    "a\u{200b}b @\u{200b}everyone \u{fe0f}\u{20e3} \u{1f468}\u{200d}\u{1f469} ＠everyone ﹫here",
];

/// Types that differ in what a message shows.
const KINDS: [EventType; 4] = [
    EventType::StateChanged,
    EventType::Ended(Outcome::Completed),
    EventType::Ended(Outcome::Failed),
    EventType::HookFailed,
];

/// 200 texts: each attack alone and in surroundings.
fn hostile_texts() -> Vec<String> {
    let wrap = |attack: &&str| {
        [
            (*attack).to_owned(),
            format!("disk full {attack}"),
            format!("{attack} {attack}"),
            format!("a{attack}b"),
            format!("x\n{attack}\n"),
            attack.repeat(20),
            format!("{}{attack}", "ä😀".repeat(90)),
            format!("\\{attack}\\"),
        ]
    };
    ATTACKS.iter().flat_map(wrap).collect()
}

/// What a chat would make a mention or a link.
fn mentions_and_links(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    let found = [
        "@everyone",
        "@here",
        "@channel",
        "@team",
        "<@",
        "<!",
        "<#",
        "<:",
        "</",
        "<at>",
        "<b>",
        "<script",
        "<img",
        "<http",
        "://",
        "](",
        "www.evil",
        "mailto:c",
        "tel:+",
        "javascript:a",
        "data:t",
        "ceo@e",
    ];
    found.into_iter().find(|&part| lower.contains(part))
}

#[test]
fn no_text_becomes_a_mention_a_link_or_a_control_character() {
    let texts_of_attackers = hostile_texts();
    assert_eq!(texts_of_attackers.len(), 200);
    for text in texts_of_attackers {
        for name in Format::NAMES {
            for (kind, body) in bodies_of_types(name, &text, &KINDS) {
                // Programs read it, as it was.
                if name == "cloudevents" {
                    assert_eq!(body["data"]["event_type"], kind.as_str());
                    continue;
                }
                for shown in untrusted(name, &body) {
                    let found = mentions_and_links(shown);
                    assert_eq!(found, None, "{name} of {kind:?}: {shown}");
                    let is_harmful = |c: char| is_harmful(c) && c != '\n';
                    assert!(!shown.chars().any(is_harmful), "{name}: {shown:?}");
                }
            }
        }
    }
}

/// The texts of a body, without those that are the format's own.
fn untrusted<'a>(format: &str, body: &'a Value) -> Vec<&'a str> {
    let mut body = vec![body];
    match format {
        "teams" => {
            body = vec![
                &body[0]["summary"],
                &body[0]["attachments"][0]["content"]["body"],
            ];
        }
        "otlp" => body = vec![&body[0]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["status"]],
        "cdevents" => body = vec![&body[0]["data"]["subject"]],
        _ => {}
    }
    body.into_iter().flat_map(texts).collect()
}

/// Markdown's punctuation counts only without a backslash before it.
#[test]
fn discord_finds_no_markup() {
    for text in hostile_texts() {
        for (kind, body) in bodies_of_types("discord", &text, &KINDS) {
            let embed = &body["embeds"][0];
            let fields = embed["fields"].as_array().unwrap().iter();
            let values = fields.flat_map(|field| [&field["name"], &field["value"]]);
            let shown = [&body["content"], &embed["description"]];
            for shown in shown.into_iter().chain(values).filter_map(Value::as_str) {
                let mut chars = shown.chars();
                while let Some(c) = chars.next() {
                    match c {
                        '\\' => assert!(chars.next().is_some(), "{kind:?}: {shown}"),
                        c => assert!(!"`*_~|[]<>#".contains(c), "{kind:?}: {shown}"),
                    }
                }
            }
        }
    }
}

#[test]
fn slack_reads_markup_nowhere_but_in_our_own_sentence() {
    for text in hostile_texts() {
        for (kind, body) in bodies_of_types("slack", &text, &KINDS) {
            let fallback = body["text"].as_str().unwrap();
            assert!(!fallback.contains(['<', '>']), "{kind:?}: {fallback}");
            let types: Vec<&str> = body["blocks"]
                .to_string()
                .matches("mrkdwn")
                .map(|_| "")
                .collect();
            let own = if text.contains("mrkdwn") {
                types.len()
            } else {
                0
            };
            assert_eq!(types.len(), own, "{kind:?}: {body}");
        }
    }
}

#[test]
fn harmless_text_stays_readable() {
    let text = "copy of C:\\build\\a.pak failed: disk 98% full (code 28), see log 2026-01-02";
    for name in ["slack", "teams", "template"] {
        for (kind, body) in bodies_of(name, text) {
            let is_shown = texts(&body).iter().any(|shown| shown.contains(text));
            assert!(is_shown, "{name} of {kind:?}: {body}");
        }
    }
    for (_, body) in bodies_of("discord", text) {
        let shown = body["embeds"][0]["description"].as_str().unwrap();
        let mut chars = shown.chars();
        let mut read = String::new();
        while let Some(c) = chars.next() {
            read.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        assert_eq!(read, text);
    }
}
