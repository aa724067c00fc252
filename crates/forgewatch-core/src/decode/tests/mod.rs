//! The fields of the vendor's pages, row by row.

mod bodies;
mod envelope;
mod grammar;
mod reference;

use super::*;
use crate::job::{JobId, JobState};
use crate::status::{ApiError, DiffFiles, FileSum, Status};

fn in_chunks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<DecodedBody, DecodeError> {
    let mut decoder = Decoder::new();
    chunks
        .into_iter()
        .try_for_each(|chunk| decoder.push(chunk))?;
    decoder.finish()
}

/// Decodes a body in one chunk, in two chunks split anywhere, and byte by byte; the results must be equal.
fn decode(body: impl AsRef<[u8]>) -> Result<DecodedBody, DecodeError> {
    let body = body.as_ref();
    let decoded = in_chunks([body]);
    for at in 0..body.len() {
        let (front, back) = body.split_at(at);
        assert_eq!(in_chunks([front, back]), decoded, "split at {at}");
    }
    assert_eq!(in_chunks(body.chunks(1)), decoded, "byte by byte");
    decoded
}

fn status(body: impl AsRef<[u8]>) -> Status {
    match decode(body) {
        Ok(DecodedBody::Status(status)) => *status,
        other => panic!("not a status: {other:?}"),
    }
}

/// The status of a body with this value of this field.
fn with(field: &str, value: &str) -> Status {
    status(format!(r#"{{"jobstatename":"","{field}":{value}}}"#))
}

fn api_error(body: &str) -> ApiError {
    match decode(body) {
        Ok(DecodedBody::Error(error)) => error,
        other => panic!("not an error envelope: {other:?}"),
    }
}

fn error(body: impl AsRef<[u8]>) -> String {
    decode(body).expect_err("an error").to_string()
}

#[test]
fn the_example_of_the_update_page_is_a_status() {
    let body = r#"{"jobprogress": 42, "jobstateid": 4, "jobstart": "1760000100", "joberror": null,
        "jobeta": 1760003600, "jobfailed": 0, "success": true, "jobcreated": 1760000000, "updateid": 77,
        "jobupdated": 1760001800, "jobstatename": "Running"}"#;
    let expected = Status {
        state: Some(JobState::Running),
        state_name: Some("Running".to_owned()),
        progress: Some(42.0),
        eta: Some(1_760_003_600),
        created: Some(1_760_000_000),
        start: Some(1_760_000_100),
        updated: Some(1_760_001_800),
        update_id: Some(JobId::try_from(77).unwrap()),
        ..Status::default()
    };
    assert_eq!(status(body), expected);
}

#[test]
fn the_example_of_the_diff_page_is_a_status_with_files_and_names() {
    let body = r#"{"imageversionid": "9", "added": {"a/b": {"size": 5, "crc": 1}, "c": {"size": "7", "crc": "2"}},
        "modified": {"d": {"filesize": "11", "crc32sum": 3}}, "removed": [],
        "image": {"imageid": "1", "gameversionid": 2, "name": "Harbour"},
        "game": {"name": "Boats", "gameid": 3}, "machine": {"machineid": 4, "name": "box-1"},
        "jobprogress": 100, "jobstateid": 5, "jobstatename": "Complete"}"#;
    let status = status(body);
    let sum = |count, bytes| FileSum { count, bytes };
    let files = DiffFiles {
        added: sum(2, 12),
        modified: sum(1, 11),
        removed: sum(0, 0),
    };
    assert_eq!(status.files, Some(files));
    assert_eq!(status.names.image.as_deref(), Some("Harbour"));
    assert_eq!(status.names.game.as_deref(), Some("Boats"));
    assert_eq!(status.names.machine.as_deref(), Some("box-1"));
    assert_eq!(status.progress, Some(100.0));
    assert_eq!(status.state, Some(JobState::Completed));
}

#[test]
fn progress_is_a_finite_number_clamped_to_0_and_100() {
    for (value, expected) in [
        ("42", Some(42.0)),
        ("42.5", Some(42.5)),
        (r#""42.5""#, Some(42.5)),
        (r#"" 42 ""#, Some(42.0)),
        ("4.2e1", Some(42.0)),
        ("0", Some(0.0)),
        ("-0.0", Some(0.0)),
        ("-3", Some(0.0)),
        ("100", Some(100.0)),
        ("100.01", Some(100.0)),
        ("1e300", Some(100.0)),
        ("null", None),
        ("true", None),
        (r#""""#, None),
        (r#""NaN""#, None),
        (r#""inf""#, None),
        (r#""1e999""#, None),
        ("1e999", None),
        (r#""half""#, None),
        ("[42]", None),
        (r#"{"percent":42}"#, None),
    ] {
        let progress = with("jobprogress", value).progress;
        assert_eq!(progress, expected, "{value}");
        assert!(progress.is_none_or(f32::is_sign_positive), "{value}");
    }
}

#[test]
fn progress_below_100_is_never_rounded_to_100() {
    for value in ["99.9999999", r#""99.99999999999""#] {
        let progress = with("jobprogress", value).progress.unwrap();
        assert!(progress < 100.0 && progress > 99.99, "{value}");
    }
}

#[test]
fn jobfailed_is_a_flag_or_a_count() {
    for (value, expected) in [
        ("0", 0),
        ("1", 1),
        ("3", 3),
        ("0.0", 0),
        ("0.5", 1),
        ("-1", 1),
        ("1e30", u32::MAX),
        ("true", 1),
        ("false", 0),
        ("null", 0),
        (r#""0""#, 0),
        (r#""2""#, 2),
        (r#""""#, 0),
        (r#""true""#, 1),
        (r#"" False ""#, 0),
        ("[]", 0),
        ("{}", 0),
    ] {
        assert_eq!(with("jobfailed", value).failed, expected, "{value}");
    }
    assert_eq!(with("jobeta", "1").failed, 0, "missing");
}

#[test]
fn an_invalid_jobfailed_is_an_error() {
    for (value, found) in [
        (r#""yes""#, r#"'"'"#),
        (r#"{"count":1}"#, "'{'"),
        ("[0]", "'['"),
        ("[[]]", "'['"),
        ("1e999", "'1'"),
        ("-1e999", "'-'"),
    ] {
        let body = format!(r#"{{"jobprogress":100,"jobfailed": {value}}}"#);
        let message =
            format!("at byte 32: expected a number, true or false for jobfailed, found {found}");
        assert_eq!(error(body), message);
    }
    assert_eq!(status(r#"{"jobfailed":[1],"jobfailed":2}"#).failed, 2);
}

#[test]
fn the_state_is_its_id_and_without_a_valid_id_its_name() {
    for (fields, expected) in [
        (r#""jobstateid":4"#, Some(JobState::Running)),
        (r#""jobstateid":"4""#, Some(JobState::Running)),
        (r#""jobstateid":4.0"#, Some(JobState::Running)),
        (r#""jobstateid":12"#, Some(JobState::Unknown(12))),
        (r#""jobstateid":-1"#, Some(JobState::Unknown(-1))),
        (
            r#""jobstateid":4,"jobstatename":"Failed""#,
            Some(JobState::Running),
        ),
        (
            r#""jobstateid":12,"jobstatename":"Failed""#,
            Some(JobState::Unknown(12)),
        ),
        (
            r#""jobstateid":null,"jobstatename":"Failed""#,
            Some(JobState::Failed),
        ),
        (
            r#""jobstateid":4.5,"jobstatename":"Failed""#,
            Some(JobState::Failed),
        ),
        (
            r#""jobstateid":1e30,"jobstatename":"Failed""#,
            Some(JobState::Failed),
        ),
        (
            r#""jobstateid":[4],"jobstatename":"Failed""#,
            Some(JobState::Failed),
        ),
        (r#""jobstatename":"Complete""#, Some(JobState::Completed)),
        (r#""jobstatename":"Completed""#, Some(JobState::Completed)),
        (r#""jobstatename":"Resting""#, None),
        (r#""jobstatename":5"#, None),
        (r#""jobstateid":null"#, None),
    ] {
        assert_eq!(status(format!("{{{fields}}}")).state, expected, "{fields}");
    }
}

#[test]
fn times_are_unix_seconds_from_1_to_the_end_of_the_year_9999() {
    for (value, expected) in [
        ("1760000000", Some(1_760_000_000)),
        (r#""1760000000""#, Some(1_760_000_000)),
        ("1760000000.9", Some(1_760_000_000)),
        ("1.76e9", Some(1_760_000_000)),
        ("1", Some(1)),
        ("253402300799", Some(253_402_300_799)),
        ("253402300800", None),
        ("1e300", None),
        ("0", None),
        ("0.5", None),
        ("-5", None),
        ("null", None),
        ("false", None),
        (r#""soon""#, None),
        (r#""""#, None),
        ("[]", None),
        ("{}", None),
    ] {
        assert_eq!(with("jobeta", value).eta, expected, "{value}");
        assert_eq!(with("jobcreated", value).created, expected, "{value}");
        assert_eq!(with("jobstart", value).start, expected, "{value}");
        assert_eq!(with("jobupdated", value).updated, expected, "{value}");
    }
}

#[test]
fn a_job_id_is_a_number_above_0() {
    for (value, expected) in [
        ("77", Some(77)),
        (r#""77""#, Some(77)),
        ("77.0", Some(77)),
        ("0", None),
        ("-77", None),
        ("77.5", None),
        ("null", None),
        ("[77]", None),
        (r#""build""#, None),
        ("1e30", None),
    ] {
        let id = |id: Option<JobId>| id.map(JobId::get);
        assert_eq!(id(with("diffid", value).diff_id), expected, "{value}");
        assert_eq!(id(with("updateid", value).update_id), expected, "{value}");
        assert_eq!(
            id(with("imageversionid", value).version_id),
            expected,
            "{value}"
        );
    }
}

#[test]
fn texts_are_kept_as_sent_unless_they_are_empty() {
    for (value, expected) in [
        (r#""disk full""#, Some("disk full")),
        (r#""\u00e9\n\ud83d\ude80\/""#, Some("é\n🚀/")),
        (r#""""#, None),
        ("null", None),
        ("7", None),
        (r#"["disk full"]"#, None),
    ] {
        assert_eq!(
            with("joberror", value).error.as_deref(),
            expected,
            "{value}"
        );
        assert_eq!(with("jobstatename", value).state_name.as_deref(), expected);
        for object in ["game", "image", "machine"] {
            let names = with(object, &format!(r#"{{"id":"7","name":{value}}}"#)).names;
            let name = names.game.or(names.image).or(names.machine);
            assert_eq!(name.as_deref(), expected, "{object} {value}");
        }
    }
}

#[test]
fn a_name_is_read_only_directly_inside_its_object() {
    for value in [
        "null",
        "7",
        r#""Boats""#,
        "[]",
        r#"["name"]"#,
        r#"[{"name":"x"}]"#,
        r#"{"Name":"x"}"#,
        r#"{"owner":{"name":"x"}}"#,
        r#"{"name":{"name":"x"}}"#,
    ] {
        assert!(with("game", value).names.is_empty(), "{value}");
    }
    assert!(with("name", r#""x""#).names.is_empty());
}

#[test]
fn files_are_counted_and_their_sizes_summed_in_every_form() {
    for (value, count, bytes) in [
        ("[]", 0, 0),
        ("{}", 0, 0),
        (r#"{"a":{"filesize":"5","crc32sum":1}}"#, 1, 5),
        (r#"{"a":{"filesize":5,"crc32sum":"1"}}"#, 1, 5),
        (r#"{"a":{"size":"5","crc":"1"}}"#, 1, 5),
        (r#"{"a":{"size":5,"crc":1}}"#, 1, 5),
        (r#"{"a":{"size":5},"a":{"size":6}}"#, 2, 11),
        (r#"{"a":{"size":5,"filesize":6}}"#, 1, 6),
        (r#"{"a":{"filesize":6,"size":5}}"#, 1, 6),
        (r#"{"a":{"filesize":null,"size":5}}"#, 1, 5),
        (r#"{"a":{"size":5,"size":6}}"#, 1, 6),
        (r#"{"a":{"size":5,"size":[6]}}"#, 1, 0),
        (r#"{"a":{"size":5},"b":{}}"#, 2, 5),
        (
            r#"{"a":{"size":-5},"b":{"size":"big"},"c":{"size":2.9}}"#,
            3,
            2,
        ),
        (
            r#"{"a":{"size":18446744073709551615},"b":{"size":1}}"#,
            2,
            u64::MAX,
        ),
        (r#"{"a":{"size":1e30}}"#, 1, u64::MAX),
        (r#"{"a":null,"b":7,"c":"x","d":[],"e":["size",5]}"#, 5, 0),
        (
            r#"{"a":{"of":{"size":5}},"size":{"size":1},"size":2}"#,
            3,
            1,
        ),
        (r#"[{"size":5},null,{"filesize":"6"},[{"size":7}]]"#, 4, 11),
    ] {
        let expected = FileSum { count, bytes };
        let [added, modified, removed] =
            ["added", "modified", "removed"].map(|map| with(map, value).files.unwrap());
        assert_eq!(added.added, expected, "{value}");
        assert_eq!(modified.modified, expected, "{value}");
        assert_eq!(removed.removed, expected, "{value}");
        assert_eq!(added.modified, FileSum::default());
    }
}

#[test]
fn without_a_map_there_are_no_files() {
    for value in ["null", "7", "true", r#""none""#] {
        assert_eq!(with("added", value).files, None, "{value}");
    }
    assert_eq!(with("jobeta", "null").files, None);
    assert_eq!(with("files", r#"{"added":{}}"#).files, None);
}

#[test]
fn fields_count_before_and_after_the_maps() {
    let map = r#""added":{"jobfailed":{"size":1,"jobprogress":9}}"#;
    let before = status(format!(r#"{{"jobprogress":5,{map}}}"#));
    let after = status(format!(r#"{{{map},"jobprogress":5}}"#));
    assert_eq!(before, after);
    assert_eq!(before.progress, Some(5.0));
    assert_eq!(before.failed, 0);
}

#[test]
fn the_last_of_duplicate_keys_counts() {
    assert_eq!(
        status(r#"{"jobprogress":5,"jobprogress":6}"#).progress,
        Some(6.0)
    );
    assert_eq!(
        status(r#"{"jobprogress":5,"jobprogress":null}"#).progress,
        None
    );
    assert_eq!(
        status(r#"{"jobprogress":5,"jobprogress":{}}"#).progress,
        None
    );
    let twice = r#"{"jobfailed":0,"added":{"a":{"size":1}},"added":{"b":{"size":2}}}"#;
    assert_eq!(
        status(twice).files.unwrap().added,
        FileSum { count: 1, bytes: 2 }
    );
    assert_eq!(
        status(r#"{"jobfailed":0,"added":{"a":{}},"added":null}"#).files,
        None
    );
    let names = r#"{"jobfailed":0,"game":{"name":"a"},"game":{"id":1}}"#;
    assert!(status(names).names.is_empty());
}

#[test]
fn keys_are_compared_unescaped() {
    let body = r#"{"job\u0070rogress":5,"\u0061dded":{"a":{"\u0073ize":3}}}"#;
    let status = status(body);
    assert_eq!(status.progress, Some(5.0));
    assert_eq!(status.files.unwrap().added, FileSum { count: 1, bytes: 3 });
    let near = r#"{"jobfailed":0,"jobprogress ":5,"JobProgress":6,"jobprogress\u0000":7,"jobprogressjobprogress":8}"#;
    assert_eq!(self::status(near).progress, None);
}
