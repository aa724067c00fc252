use std::collections::BTreeMap;

use super::*;
use crate::control::protocol::tests::summary;
use crate::control::protocol::{JobDetails, JobSummary};
use forgewatch_core::poll_log::{PollRecord, PollResult, WaitReason};
use forgewatch_core::time_left::TimeLeft;
use serde_json::value::RawValue;

const NOW: i64 = 1_800_000_000_000;
const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'`--></script>{{ 7 * 7 }}\u{202e}\u{1b}[2J";

fn job(name: &str) -> JobSummary {
    JobSummary {
        job: name.parse().unwrap(),
        progress: Some(63),
        estimated_progress: Some(71),
        left: TimeLeft {
            eta_seconds: None,
            estimate_low_ms: Some(240_000),
            estimate_high_ms: Some(700_000),
        },
        started_at_ms: Some(NOW - 600_000),
        ..summary()
    }
}

fn ended(name: &str, outcome: &str) -> JobSummary {
    JobSummary {
        outcome: Some(outcome.to_owned()),
        ended_at_ms: Some(NOW - 1_000),
        next_poll_ms: None,
        ..job(name)
    }
}

fn page() -> ListPage {
    ListPage {
        instance: "build01".to_owned(),
        running: vec![job("update/77"), job("diff/1")],
        ended: vec![ended("diff/2", "failed"), ended("diff/3", "completed")],
        failures: BTreeMap::from([("diff/2".parse().unwrap(), "disk full".to_owned())]),
        health: DaemonHealth {
            text: "The API is reachable.".to_owned(),
            is_bad: false,
        },
        now_ms: NOW,
        ..ListPage::default()
    }
}

/// The text without markup, a line for each row.
fn text(html: &str) -> String {
    let body = html.split("</style>").last().unwrap();
    let body = body.split("<script>").next().unwrap();
    let mut text = String::new();
    let mut is_tag = false;
    for c in body.chars() {
        match c {
            '<' => is_tag = true,
            '>' => {
                is_tag = false;
                text.push(' ');
            }
            _ if !is_tag => text.push(c),
            _ => {}
        }
    }
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_list_shows_running_jobs_then_ended_ones_and_failures() {
    let html = page().render(&Filter::default()).unwrap();
    insta::assert_snapshot!(text(&html));
}

#[test]
fn a_filter_passes_jobs_by_text_label_and_state() {
    let names = |text: &str, label: &str, state: &str| -> Vec<String> {
        let html = page().render(&Filter::new(text, label, state)).unwrap();
        let rows = html.split("<tr id=\"").skip(1);
        rows.map(|row| row.split('"').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names("", "", ""),
        ["diff/1", "update/77", "diff/2", "diff/3"]
    );
    assert_eq!(names("UPDATE", "", ""), ["update/77"]);
    assert_eq!(names("8812", "", "running"), ["diff/1", "update/77"]);
    assert_eq!(names("", "build=8812", "failed"), ["diff/2"]);
    assert_eq!(names("", "build=1", ""), [""; 0]);
    assert_eq!(names("", "build", ""), [""; 0]);
    let html = page().render(&Filter::new("", "build", "")).unwrap();
    assert!(
        html.contains("expected NAME=VALUE such as build=8812"),
        "{html}"
    );
}

#[test]
fn a_thousand_jobs_are_less_than_300_kb() {
    let named = |n| JobSummary {
        labels: ["build", "stage", "branch"]
            .map(|name| (name.to_owned(), format!("{name}-{n}")))
            .into(),
        ..job(&format!("update/{n}"))
    };
    let page = ListPage {
        running: (1_000_000..1_001_000).map(named).collect(),
        ..page()
    };
    let html = page.render(&Filter::default()).unwrap();
    assert!(html.len() < 300_000, "{} bytes", html.len());
    assert_eq!(html.matches("<tr id=").count(), 1_000);
    assert!(html.contains("The first 1000 of 1002 jobs"));
}

#[test]
fn text_of_servers_and_users_is_never_markup() {
    let hostile = || HOSTILE.to_owned();
    let summary = JobSummary {
        labels: BTreeMap::from([("build".to_owned(), hostile())]),
        state: Some(hostile()),
        error_message: Some(hostile()),
        error_kind: Some(hostile()),
        ..job("diff/1")
    };
    let delivery = DeliverySummary {
        id: hostile(),
        hook: hostile(),
        event_type: hostile(),
        job: None,
        attempts: 3,
        state: DeliveryStatus::Failed,
        due_at_ms: Some(NOW + 5_000),
        error_message: Some(hostile()),
    };
    let record = serde_json::json!({
        "timestamp": hostile(), "event_type": hostile(), "message": hostile(), "state": hostile(),
        "error_message": hostile(),
    });
    let poll = |result| PollRecord {
        wall_ms: NOW - 5_000,
        result,
        next_poll_ms: 1,
        next_poll_reason: WaitReason::NotFound,
    };
    let details = JobDetails {
        summary: summary.clone(),
        next_poll_reason: Some(WaitReason::NotFound),
        events: vec![RawValue::from_string(record.to_string()).unwrap()],
        polls: vec![
            poll(PollResult::Error {
                error_message: hostile(),
                error_kind: hostile().into(),
                http_status: None,
            }),
            poll(PollResult::Status {
                state: Some(hostile().into()),
                progress: Some(1),
                eta_seconds: None,
            }),
        ],
        deliveries: vec![delivery.clone()],
    };
    let list = ListPage {
        instance: hostile(),
        running: vec![summary],
        ended: vec![ended("diff/2", HOSTILE)],
        failures: BTreeMap::from([("diff/2".parse().unwrap(), hostile())]),
        deliveries: vec![delivery],
        health: DaemonHealth {
            text: hostile(),
            is_bad: true,
        },
        ..page()
    };
    for html in [
        list.render(&Filter::new(HOSTILE, HOSTILE, HOSTILE))
            .unwrap(),
        page().render(&Filter::default()).unwrap(),
        job_page(&details, HOSTILE, NOW).unwrap(),
        list_page::rows(&[ended("diff/2", HOSTILE)], &Filter::default()).unwrap(),
    ] {
        for tag in [
            "<img",
            "alert(1)>",
            "onerror=alert(1)>\"",
            "49\u{202e}",
            "\u{202e}",
            "\u{1b}",
        ] {
            assert!(!html.contains(tag), "{tag:?} in {html}");
        }
        assert!(html.matches("<script>").count() <= 1);
        assert!(html.matches("</script>").count() <= 1);
    }
}

#[test]
fn the_page_of_a_job_shows_its_life() {
    let record = |at: &str, kind: &str, state: &str| {
        let record = serde_json::json!({
            "timestamp": at, "event_type": kind, "message": format!("diff/1 is {state}"), "state": state,
            "detection_delay_ms": 800,
        });
        RawValue::from_string(record.to_string()).unwrap()
    };
    let poll = |wall_ms, progress| PollRecord {
        wall_ms,
        result: PollResult::Status {
            state: Some("running".into()),
            progress: Some(progress),
            eta_seconds: Some(90),
        },
        next_poll_ms: 60_000,
        next_poll_reason: WaitReason::RetryAfter,
    };
    let start = NOW - 600_000;
    let details = JobDetails {
        summary: JobSummary {
            ended_at_ms: Some(NOW),
            ..ended("diff/1", "completed")
        },
        next_poll_reason: None,
        events: vec![
            record("2027-01-15T07:50:00.000Z", "job.watching", "queued"),
            record("2027-01-15T07:55:00.000Z", "job.state_changed", "running"),
            record("2027-01-15T08:00:00.000Z", "job.completed", "completed"),
        ],
        polls: vec![poll(start, 0), poll(start + 300_000, 40), poll(NOW, 100)],
        deliveries: Vec::new(),
    };
    let html = job_page(&details, "build01", NOW).unwrap();
    // A third of the time is queued, the progress rises from left to right, the end is at the right.
    for part in [
        r#"<rect class=state x="0.0" y=0 width="499.0""#,
        r#"<rect class=state x="500.0" y=0 width="499.0""#,
        r#"points="0.0,95.0 500.0,68.2 1000.0,28.0""#,
        r#"<path class="end" d="M1000.0 0V144""#,
        "The end was detected after 800ms.",
    ] {
        assert!(html.contains(part), "{part} is not in {html}");
    }
    insta::assert_snapshot!(text(&html));
}

#[test]
fn the_policy_has_the_hashes_of_styles_and_script() {
    // The hash of the empty text would mean that an element was not found.
    let empty = BASE64_STANDARD.encode(digest(&SHA256, b""));
    assert!(
        !CONTENT_SECURITY_POLICY.contains(&empty),
        "{}",
        *CONTENT_SECURITY_POLICY
    );
    assert_eq!(CONTENT_SECURITY_POLICY.matches("sha256-").count(), 2);
}
