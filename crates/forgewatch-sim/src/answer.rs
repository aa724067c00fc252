//! An answer as the vendor writes it, contradictions included.
//!
//! The vendor's two reference pages contradict themselves, each other and what servers send. A job of shape
//! `plain` follows the example answers, `strings` sends every number as text, spells the rest the other way and
//! puts the maps first, `sparse` leaves out whatever may be missing.

use serde_json::{Value, json};

use super::body::{Files, Piece};
use super::job_model::{FileCounts, Job, Shape, Standing};
use forgewatch_core::job::{JobKind, JobState};

/// What a standing looks like from outside: the server's clock, in Unix seconds.
pub(super) struct Times {
    pub(super) created: i64,
    /// None while it has not left the queue.
    pub(super) started: Option<i64>,
    pub(super) updated: i64,
    pub(super) eta: Option<i64>,
}

/// The body of a status.
pub(super) fn status(job: &Job, standing: &Standing<'_>, times: &Times, info: bool) -> Vec<Piece> {
    let mut pieces = vec![Piece::Bytes(b"{".to_vec())];
    let fields = fields(job, standing, times);
    let maps = job.name.kind == JobKind::Diff;
    let first = job.shape == Shape::Strings;
    if maps && first {
        push_maps(&mut pieces, job, standing);
    }
    // one field stays behind the maps, so that nobody may stop reading at them
    let (last, fields) = fields
        .split_last()
        .map_or((None, [].as_slice()), |(last, rest)| (Some(last), rest));
    for (name, value) in fields {
        push_field(&mut pieces, name, value);
    }
    if maps && !first {
        push_maps(&mut pieces, job, standing);
    }
    if let Some((name, value)) = last {
        push_field(&mut pieces, name, value);
    }
    if maps && info {
        for (name, value) in info_fields(job) {
            push_field(&mut pieces, name, &value);
        }
    }
    push(&mut pieces, "}");
    pieces
}

/// The error envelope: HTTP 200 or another status, but no status of a job.
pub(super) fn envelope(code: i64, message: &str) -> Vec<u8> {
    json!({
        "success": false,
        "error": true,
        "error_code": code,
        "error_message": message,
        "messages": [],
        "_debug": [],
    })
    .to_string()
    .into_bytes()
}

/// The fields of a job itself, in the vendor's order; the last one goes behind the maps.
fn fields(job: &Job, standing: &Standing<'_>, times: &Times) -> Vec<(&'static str, Value)> {
    let shape = job.shape;
    let id = job.name.id.get();
    let diff = job.name.kind == JobKind::Diff;
    let number = |n: i64| shape.number(n);
    // what may be missing, and what may be null
    let spare = |value: Value| (shape != Shape::Sparse).then_some(value);
    let optional = |value: Option<Value>| value.or_else(|| spare(Value::Null));
    let silence = if shape == Shape::Strings {
        json!("")
    } else {
        Value::Null
    };
    let version = 40_000 + (id % 10_000) as i64;
    [
        ("imageversionid", spare(number(version)).filter(|_| diff)),
        ("jobcreated", Some(number(times.created))),
        (
            "joberror",
            standing
                .error
                .map(|error| json!(error))
                .or_else(|| spare(silence)),
        ),
        ("jobeta", optional(times.eta.map(number))),
        ("jobfailed", Some(shape.failed(standing.jobfailed))),
        ("jobprogress", Some(shape.progress(standing))),
        (
            "jobstart",
            optional(times.started.map(|at| shape.start(at))),
        ),
        ("jobstateid", spare(number(standing.state.id()))),
        ("success", (!diff).then_some(json!(true))),
        (
            "jobstatename",
            Some(json!(state_name(standing.state, shape))),
        ),
        (
            if diff { "diffid" } else { "updateid" },
            spare(shape.number(id)),
        ),
        ("jobupdated", Some(number(times.updated))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

impl Shape {
    fn number(self, n: impl ToString + Into<Value>) -> Value {
        if self == Self::Strings {
            json!(n.to_string())
        } else {
            n.into()
        }
    }

    fn failed(self, count: u32) -> Value {
        match (self, count) {
            (Self::Sparse, 0 | 1) => json!(count == 1),
            _ => self.number(count),
        }
    }

    fn progress(self, standing: &Standing<'_>) -> Value {
        match self {
            Self::Plain => json!(standing.progress),
            Self::Strings => json!(format!("{}.0", standing.progress)),
            Self::Sparse if standing.started => json!(standing.progress),
            Self::Sparse => Value::Null,
        }
    }

    /// The one time the vendor documents as a string; the other shapes are the other way round here.
    fn start(self, at: i64) -> Value {
        if self == Self::Plain {
            json!(at.to_string())
        } else {
            json!(at)
        }
    }
}

fn state_name(state: JobState, shape: Shape) -> &'static str {
    match state {
        JobState::Created => "Created",
        JobState::Pending => "Pending",
        JobState::Queued => "Queued",
        JobState::Completed if shape == Shape::Plain => "Completed",
        JobState::Completed => "Complete",
        JobState::Failed => "Failed",
        JobState::Squashed => "Squashed",
        JobState::Running | JobState::Unknown(_) => "Running",
    }
}

/// `image`, `game` and `machine`, as `diff_info=1` asks for.
fn info_fields(job: &Job) -> [(&'static str, Value); 3] {
    let names = &job.names;
    let id = |n: u64| job.shape.number(n);
    [
        (
            "image",
            json!({"imageid": id(31), "gameversionid": id(907), "name": names.image}),
        ),
        ("game", json!({"gameid": id(7), "name": names.game})),
        (
            "machine",
            json!({"machineid": id(1201), "name": names.machine}),
        ),
    ]
}

/// `added`, `modified` and `removed`: `[]` where empty, as PHP encodes an empty map.
fn push_maps(pieces: &mut Vec<Piece>, job: &Job, standing: &Standing<'_>) {
    let done = standing.ended && standing.progress == 100;
    let FileCounts {
        added,
        modified,
        removed,
    } = if done {
        job.files
    } else {
        FileCounts::default()
    };
    for (name, count) in [
        ("added", added),
        ("modified", modified),
        ("removed", removed),
    ] {
        if count.0 == 0 {
            if job.shape != Shape::Sparse {
                push_field(pieces, name, &json!([]));
            }
            continue;
        }
        push_name(pieces, name);
        push(pieces, "{");
        pieces.push(Piece::Files(Files::new(
            count.0,
            job.shape == Shape::Strings,
        )));
        push(pieces, "}");
    }
}

fn push_field(pieces: &mut Vec<Piece>, name: &str, value: &Value) {
    push_name(pieces, name);
    push(pieces, &value.to_string());
}

fn push_name(pieces: &mut Vec<Piece>, name: &str) {
    let comma = match pieces.as_slice() {
        [Piece::Bytes(open)] if open == b"{" => "",
        _ => ",",
    };
    push(pieces, &format!("{comma}\"{name}\":"));
}

/// Appends text, to the last piece where that is text too.
fn push(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Bytes(bytes)) => bytes.extend_from_slice(text.as_bytes()),
        _ => pieces.push(Piece::Bytes(text.as_bytes().to_vec())),
    }
}
