use proptest::prelude::*;

use forgewatch_core::poll_log::WaitReason;
use forgewatch_core::time_left::TimeLeft;

use super::*;

fn request(line: &str) -> Request {
    serde_json::from_str(line).unwrap()
}

fn record() -> Box<RawValue> {
    let text = r#"{"timestamp":"2027-01-15T08:00:00.000Z","event_type":"job.watching"}"#;
    RawValue::from_string(text.to_owned()).unwrap()
}

pub(crate) fn summary() -> JobSummary {
    JobSummary {
        job: "diff/1234".parse().unwrap(),
        watch: "a5".repeat(16),
        labels: BTreeMap::from([("build".to_owned(), "8812".to_owned())]),
        state: Some("running".to_owned()),
        progress: Some(40),
        estimated_progress: Some(64),
        left: TimeLeft {
            eta_seconds: Some(120),
            estimate_low_ms: Some(100_000),
            estimate_high_ms: Some(160_000),
        },
        next_poll_ms: Some(12_000),
        requests: 7,
        unreachable: false,
        stalled: false,
        error_message: None,
        error_kind: None,
        outcome: None,
        started_at_ms: Some(1_800_000_000_000),
        ended_at_ms: None,
    }
}

#[test]
fn requests_have_their_documented_form() {
    let jobs = vec!["diff/1".parse().unwrap(), "update/7".parse().unwrap()];
    let requests = [
        Request::Add {
            jobs: jobs.clone(),
            labels: BTreeMap::from([("build".to_owned(), "8812".to_owned())]),
            again: true,
        },
        Request::Remove { jobs },
        Request::List(ListRequest {
            all: true,
            jobs: vec!["diff/1".parse().unwrap()],
            labels: BTreeMap::from([("build".to_owned(), "8812".to_owned())]),
            limit: Some(10),
            after: None,
        }),
        Request::List(ListRequest {
            after: Some("a5".repeat(16)),
            ..ListRequest::default()
        }),
        Request::Show {
            job: "diff/1".parse().unwrap(),
        },
        Request::Events {
            since: Since::After(17),
            follow: true,
            filter: EventFilter {
                types: vec!["job.*".to_owned()],
                ..EventFilter::default()
            },
        },
        Request::Reload,
        Request::Status,
        Request::LastEnded { limit: 100 },
        Request::Metrics { open_metrics: true },
        Request::PreviewReload,
        Request::ListDeliveries,
        Request::RetryDelivery {
            delivery: "a5-1/chat".to_owned(),
        },
        Request::TestHook(HookTestRequest {
            hook: "chat".to_owned(),
            event_type: Some("job.failed".to_owned()),
            job: None,
        }),
        Request::DiscardFailed,
    ];
    let lines = requests
        .each_ref()
        .map(|r| serde_json::to_string(r).unwrap());
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"add":{"jobs":["diff/1","update/7"],"labels":{"build":"8812"},"again":true}}
    {"remove":{"jobs":["diff/1","update/7"]}}
    {"list":{"all":true,"jobs":["diff/1"],"labels":{"build":"8812"},"limit":10}}
    {"list":{"all":false,"jobs":[],"labels":{},"after":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"}}
    {"show":{"job":"diff/1"}}
    {"events":{"since":{"after":17},"follow":true,"filter":{"jobs":[],"labels":{},"types":["job.*"]}}}
    "reload"
    "status"
    {"last_ended":{"limit":100}}
    {"metrics":{"open_metrics":true}}
    "preview_reload"
    "list_deliveries"
    {"retry_delivery":{"delivery":"a5-1/chat"}}
    {"test_hook":{"hook":"chat","event_type":"job.failed","job":null}}
    "discard_failed"
    "#);
    for (sent, line) in requests.iter().zip(lines) {
        assert_eq!(*sent, request(&line));
    }
}

#[test]
fn the_page_on_the_protocol_names_everything_and_its_request_is_valid() {
    const PAGE: &str = include_str!("../../../docs/control-protocol.md");
    let (_, rest) = PAGE.split_once("echo '").unwrap();
    let (line, _) = rest.split_once('\'').unwrap();
    let request = decode_request(format!("{line}\n").as_bytes()).unwrap();
    assert_eq!(request.action(), None, "{request:?}");
    // serde lists the names of all variants.
    for unknown in [
        serde_json::from_str::<Request>("\"?\"")
            .unwrap_err()
            .to_string(),
        serde_json::from_str::<Response>("\"?\"")
            .unwrap_err()
            .to_string(),
    ] {
        let names: Vec<&str> = unknown.split('`').skip(3).step_by(2).collect();
        assert!(names.len() > 8, "{unknown}");
        for name in names {
            assert!(PAGE.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}

#[test]
fn absent_flags_are_false() {
    let add = Request::Add {
        jobs: vec!["diff/1".parse().unwrap()],
        labels: BTreeMap::new(),
        again: false,
    };
    assert_eq!(request(r#"{"add":{"jobs":["diff/1"]}}"#), add);
    let list = Request::List(ListRequest::default());
    assert_eq!(request(r#"{"list":{}}"#), list);
}

#[test]
fn unknown_fields_and_invalid_values_are_rejected() {
    for line in [
        r#"{"list":{"every":true}}"#,
        r#"{"add":{"jobs":["diff/0"]}}"#,
        r#"{"add":{}}"#,
        r#"{"add":{"jobs":["diff/1"],"labels":{"no name":"1"}}}"#,
        r#"{"add":{"jobs":["diff/1"],"labels":{"build":"1\n2"}}}"#,
        r#""stop""#,
    ] {
        assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
    }
}

#[test]
fn a_request_of_another_version_is_rejected_before_it_is_read() {
    let decode = |line: &str| decode_request(line.as_bytes());
    let frame = |protocol: u32, request: &str| {
        format!("{{\"protocol\":{protocol},\"request\":{request}}}\n")
    };
    assert_eq!(
        decode(&frame(PROTOCOL, "\"reload\"")).unwrap(),
        Request::Reload
    );
    for request in ["\"reload\"", "{\"later\":{}}"] {
        let error = decode(&frame(PROTOCOL + 1, request)).unwrap_err();
        assert!(matches!(error, InvalidRequest::Version(2)), "{error}");
    }
    let error = decode("\"reload\"\n").unwrap_err();
    assert!(matches!(error, InvalidRequest::Invalid(_)), "{error}");
}

#[test]
fn a_stored_record_is_passed_on_byte_for_byte() {
    let event = Response::Event {
        offset: 17,
        record: record(),
    };
    let line = serde_json::to_string(&event).unwrap();
    assert!(line.contains(record().get()), "{line}");
    let Response::Event {
        offset,
        record: parsed,
    } = serde_json::from_str(&line).unwrap()
    else {
        panic!("{line}");
    };
    assert_eq!((offset, parsed.get()), (17, record().get()));
}

#[test]
fn job_details_are_one_object_and_survive_a_round_trip() {
    let details = JobDetails {
        summary: summary(),
        next_poll_reason: Some(WaitReason::RetryAfter),
        events: vec![record()],
        polls: Vec::new(),
        deliveries: vec![DeliverySummary {
            id: "a5-1/chat".to_owned(),
            hook: "chat".to_owned(),
            event_type: "job.watching".to_owned(),
            job: Some(summary().job),
            attempts: 8,
            state: DeliveryStatus::Failed,
            due_at_ms: None,
            error_message: Some("exit status 1".to_owned()),
        }],
    };
    let text = serde_json::to_string(&Response::Job(Box::new(details))).unwrap();
    insta::assert_snapshot!(text, @r#"{"job":{"job":"diff/1234","watch":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","labels":{"build":"8812"},"state":"running","progress":40,"estimated_progress":64,"eta_seconds":120,"estimate_low_ms":100000,"estimate_high_ms":160000,"next_poll_ms":12000,"requests":7,"unreachable":false,"stalled":false,"started_at_ms":1800000000000,"next_poll_reason":{"kind":"retry_after"},"events":[{"timestamp":"2027-01-15T08:00:00.000Z","event_type":"job.watching"}],"polls":[],"deliveries":[{"id":"a5-1/chat","hook":"chat","event_type":"job.watching","job":"diff/1234","attempts":8,"state":"failed","error_message":"exit status 1"}]}}"#);
    let Response::Job(parsed) = serde_json::from_str(&text).unwrap() else {
        panic!("{text}");
    };
    assert_eq!(parsed.summary, summary());
    assert_eq!(serde_json::to_string(&Response::Job(parsed)).unwrap(), text);
}

/// The tokens of requests in any order.
fn tokens() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\n",
        "{\"protocol\":1,\"request\":",
        "\"add\"",
        "\"jobs\"",
        "\"diff/1\"",
        "\"labels\"",
        "\"again\"",
        "true",
        "\"events\"",
        "\"since\"",
        "\"after\"",
        "\"now\"",
        "-1",
        "1e400",
        "null",
        "\"list_deliveries\"",
        "\"\\ud800\"",
    ]);
    prop::collection::vec(token, 0..30).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #[test]
    fn whatever_decodes_encodes_to_an_equal_request(
        frame in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), tokens()]
    ) {
        if let Ok(decoded) = decode_request(&frame) {
            let encoded = encode_request(&decoded).unwrap();
            prop_assert_eq!(decode_request(&encoded).unwrap(), decoded);
        }
    }
}
