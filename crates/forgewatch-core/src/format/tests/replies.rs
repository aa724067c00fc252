//! What responses say beyond their status.

use std::time::Duration;

use crate::format::{Format, ReplyError, retry_after};

#[test]
fn a_success_with_an_error_in_its_body_is_none() {
    use ReplyError::{Final, Retry};
    for (format, body, error) in [
        (Format::Slack, "ok", None),
        (Format::Slack, "", None),
        (Format::Slack, "invalid_payload", Some(Retry)),
        (Format::Slack, "no_text\n", Some(Retry)),
        (
            Format::Slack,
            r#"{"ok":false,"error":"channel_not_found"}"#,
            Some(Retry),
        ),
        (Format::Slack, r#"{"ok":true}"#, None),
        (Format::Slack, r#"{"success":true}"#, None),
        (Format::Slack, "<html>fine</html>", None),
        (Format::Teams, "1", None),
        (Format::Teams, "", None),
        (
            Format::Teams,
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId",
            Some(Retry),
        ),
        (Format::Discord, "", None),
        (Format::Otlp, "{}", None),
        (Format::Otlp, r#"{"partialSuccess":{}}"#, None),
        (
            Format::Otlp,
            r#"{"partialSuccess":{"errorMessage":"old"}}"#,
            None,
        ),
        (
            Format::Otlp,
            r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}"#,
            Some(Final),
        ),
        (
            Format::Otlp,
            r#"{"partialSuccess":{"rejectedSpans":1}}"#,
            Some(Final),
        ),
        (Format::CloudEvents, "invalid_payload", None),
    ] {
        assert_eq!(
            format.error_in_success(body),
            error,
            "{}: {body}",
            format.name()
        );
    }
}

#[test]
fn discord_names_the_delay_in_the_body() {
    let body = r#"{"message":"You are being rate limited.","retry_after":1.337,"global":false}"#;
    assert_eq!(retry_after(body), Some(Duration::from_millis(1337)));
    for body in [
        "",
        "{}",
        r#"{"retry_after":"soon"}"#,
        r#"{"retry_after":-1}"#,
    ] {
        assert_eq!(retry_after(body), None, "{body}");
    }
}
