//! A record is never longer than a journal line, whatever texts it has.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::samples::{TRACE, every_event};
use crate::report::sanitize::json_line;
use forgewatch_core::event::{
    Event, EventFields, EventOrigin, EventType, FailedDelivery, FinishedCounts, JobMeta, Lag,
    MAX_LINE_BYTES,
};
use forgewatch_core::job::{JobState, Outcome, Reason};
use forgewatch_core::schedule::Unusual;
use forgewatch_core::status::{DiffFiles, DiffNames, FileSum};
use forgewatch_core::time_left::TimeLeft;
use forgewatch_core::verdict::ErrorKind;

/// Texts that grow in JSON, each in its own way, and texts that do not.
const PIECES: [&str; 15] = [
    "\u{1}", "\n", "\"", "\\", "#", "##vso[", "\u{7f}", "\u{80}", "\u{202e}", "\u{2028}", "ä",
    "世", "😀", "x", "long ",
];

/// Much longer than any limit.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(&PIECES[..]).prop_map(str::to_owned),
        any::<String>(),
    ];
    (prop::collection::vec(piece, 1..6), 0usize..20_000).prop_map(|(pieces, bytes)| {
        let piece = pieces.concat();
        piece.repeat(bytes / piece.len().max(1))
    })
}

fn labels() -> impl Strategy<Value = Vec<(String, String)>> {
    let many = prop::collection::vec(("[a-z0-9._/-]{1,63}", "\\PC{0,64}"), 1..400);
    prop_oneof![many, prop::collection::vec((text(), text()), 1..20)]
}

/// An event with every field, each as long as possible.
fn fullest(kind: EventType, texts: [String; 10], labels: Vec<(String, String)>) -> Event {
    let [
        error,
        state_name,
        game,
        image,
        machine,
        hook,
        delivery,
        what,
        first,
        last,
    ] = texts;
    let most = FileSum {
        count: u64::MAX,
        bytes: u64::MAX,
    };
    let fields = EventFields {
        state: Some(JobState::Completed),
        origin: EventOrigin {
            instance: Some("i".repeat(64).into()),
            trace: TRACE.parse().ok(),
        },
        previous_state: Some(JobState::Completed),
        state_name: Some(state_name),
        progress: Some(u8::MAX),
        eta: Some(i64::MAX),
        left: TimeLeft {
            eta_seconds: Some(i64::MIN),
            estimate_low_ms: Some(u64::MAX),
            estimate_high_ms: Some(u64::MAX),
        },
        next_poll_ms: Some(u64::MAX),
        usual_ms: Some(u64::MAX),
        unusual: Some(Unusual::Slow),
        error_message: Some(error),
        error_kind: Some(ErrorKind::Disconnected),
        http_status: Some(u16::MAX),
        reason: Some(Reason::Interrupted),
        requests: Some(u32::MAX),
        elapsed_ms: Some(u64::MAX),
        stalled_ms: Some(u64::MAX),
        detection_delay_ms: Some(u64::MAX),
        queued_ms: Some(u64::MAX),
        run_ms: Some(u64::MAX),
        test: true,
        files: Some(DiffFiles {
            added: most,
            modified: most,
            removed: most,
        }),
        jobs: Some(u32::MAX),
        counts: Some(FinishedCounts {
            completed: u32::MAX,
            failed: u32::MAX,
            squashed: u32::MAX,
            other: u32::MAX,
            timed_out: u32::MAX,
            not_found: u32::MAX,
            refused: u32::MAX,
            gave_up: u32::MAX,
            outcome: "interrupted",
        }),
        delivery: Some(Box::new(FailedDelivery {
            hook,
            delivery,
            attempt: u32::MAX,
            exit_status: Some(i32::MIN),
            what,
            of_hook_failed: false,
        })),
        lag: Some(Box::new(Lag {
            lines_dropped: u64::MAX,
            first_dropped: first,
            last_dropped: last,
        })),
    };
    let mut event = every_event().remove(1);
    event.kind = kind;
    event.id.seq = u32::MAX;
    event.job = Some(format!("update/{}", u64::MAX).parse().unwrap());
    event.fields = fields;
    event.meta = Some(Arc::new(JobMeta {
        labels: labels.into_iter().collect(),
        names: DiffNames {
            game: Some(game),
            image: Some(image),
            machine: Some(machine),
        },
    }));
    event
}

fn kinds() -> impl Strategy<Value = EventType> {
    prop::sample::select(vec![
        EventType::HookFailed,
        EventType::WatchFinished,
        EventType::Ended(Outcome::TimedOut),
    ])
}

/// Checks that the record is one line that the journal does not split, with every field.
fn checked(event: &Event) -> Result<(), TestCaseError> {
    let line = json_line(&event.record()) + "\n";
    prop_assert!(line.len() < MAX_LINE_BYTES, "{} bytes", line.len());
    let record: Value = serde_json::from_str(&line).unwrap();
    let schema: Value =
        serde_json::from_str(include_str!("../../../config/schema/event.json")).unwrap();
    let rules = schema["properties"].as_object().unwrap();
    // The record is a line of the output; `forgewatch events` adds the offset.
    for (key, rule) in rules.iter().filter(|(key, _)| *key != "offset") {
        prop_assert!(record.get(key).is_some(), "{} is missing", key);
        let text = record[key].as_str().unwrap_or_default();
        let most = rule["maxLength"].as_u64().unwrap_or(u64::MAX);
        prop_assert!(text.len() as u64 <= most, "{}: {} bytes", key, text.len());
    }
    Ok(())
}

#[test]
fn a_record_full_of_one_text_fits_a_journal_line() {
    for piece in PIECES {
        let texts = std::array::from_fn(|_| piece.repeat(20_000));
        let labels = (0..400).map(|n| (format!("{n:063}"), piece.repeat(1024)));
        let event = fullest(EventType::HookFailed, texts, labels.collect());
        if let Err(error) = checked(&event) {
            panic!("{piece:?}: {error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_record_of_any_texts_fits_a_journal_line(
        kind in kinds(), texts in prop::array::uniform10(text()), labels in labels()
    ) {
        checked(&fullest(kind, texts, labels))?;
    }
}

#[test]
fn texts_within_the_limits_are_complete() {
    let [error, name] = [8 * 1024, 4 * 1024].map(|bytes| "x".repeat(bytes));
    let texts = std::array::from_fn(|n| match n {
        0 => error.clone(),
        1..=4 => name.clone(),
        _ => "chat".to_owned(),
    });
    let labels: Vec<_> = (0..10)
        .map(|n| (format!("l{n}"), "v".repeat(1024)))
        .collect();
    let event = fullest(EventType::Progressed, texts, labels.clone());
    let record: Value = serde_json::from_str(&json_line(&event.record())).unwrap();
    assert_eq!(record["error_message"], error);
    for key in ["state_name", "game", "image", "machine"] {
        assert_eq!(record[key], name, "{key}");
    }
    for (name, value) in labels {
        assert_eq!(record["labels"][name], value);
    }
    assert_eq!(record["hook"], "chat");
}
