//! A status response as the vendor writes it.
//!
//! The vendor's two reference pages contradict themselves, each other and real servers. The style `plain` follows the
//! example responses; `strings` sends every number as text, uses the other spellings and puts the file maps first;
//! `sparse` leaves out every optional field.

use serde_json::{Value, json};

use crate::body::{Body, FileEntries, Piece};
use crate::job_model::{FileCounts, JobSnapshot, JsonStyle, ScriptedJob};
use forgewatch_core::job::{JobKind, JobState};

/// The times of a job by the server's clock, in Unix seconds.
pub(crate) struct JobTimes {
    pub(crate) created: i64,
    /// None while the job is queued.
    pub(crate) started: Option<i64>,
    pub(crate) updated: i64,
    pub(crate) eta: Option<i64>,
}

pub(crate) fn status(
    job: &ScriptedJob,
    snapshot: &JobSnapshot<'_>,
    times: &JobTimes,
    info: bool,
) -> Vec<Piece> {
    let mut pieces = vec![Piece::Bytes(b"{".to_vec())];
    let fields = fields(job, snapshot, times);
    let has_maps = job.name.kind == JobKind::Diff;
    // one field follows the maps, so that a client that stops reading at the maps fails
    let before_maps = match job.json_style {
        JsonStyle::Strings => 0,
        JsonStyle::Plain | JsonStyle::Sparse => fields.len() - 1,
    };
    let (before, after) = fields.split_at(before_maps);
    push_fields(&mut pieces, before);
    if has_maps {
        push_maps(&mut pieces, job, snapshot);
    }
    push_fields(&mut pieces, after);
    if has_maps && info {
        push_fields(&mut pieces, &info_fields(job));
    }
    push(&mut pieces, "}");
    pieces
}

/// The vendor's error envelope, sent with any HTTP status.
pub(crate) fn envelope(code: i64, message: &str) -> Body {
    let envelope = json!({
        "success": false,
        "error": true,
        "error_code": code,
        "error_message": message,
        "messages": [],
        "_debug": [],
    });
    Body::text(envelope.to_string())
}

/// The fields of a job, in the vendor's order; the last one goes after the maps.
fn fields(
    job: &ScriptedJob,
    snapshot: &JobSnapshot<'_>,
    times: &JobTimes,
) -> Vec<(&'static str, Value)> {
    let style = job.json_style;
    let id = job.name.id.get();
    let kind = job.name.kind;
    let number = |n: i64| style.number(n);
    // fields that may be missing, and fields that may be null
    let spare = |value: Value| (style != JsonStyle::Sparse).then_some(value);
    let optional = |value: Option<Value>| value.or_else(|| spare(Value::Null));
    let silence = if style == JsonStyle::Strings {
        json!("")
    } else {
        Value::Null
    };
    let own_id = spare(style.number(id));
    // The vendor's page on diffs has the ID of a version, too.
    let version_id = match kind {
        JobKind::Diff => spare(number(40_000 + (id % 10_000) as i64)),
        JobKind::Update => None,
        JobKind::Version => own_id.clone(),
    };
    [
        ("imageversionid", version_id),
        ("jobcreated", Some(number(times.created))),
        (
            "joberror",
            snapshot
                .error
                .map(|error| json!(error))
                .or_else(|| spare(silence)),
        ),
        ("jobeta", optional(times.eta.map(number))),
        ("jobfailed", Some(style.failed(snapshot.jobfailed))),
        ("jobprogress", Some(style.progress(snapshot))),
        (
            "jobstart",
            optional(times.started.map(|at| style.start(at))),
        ),
        ("jobstateid", spare(number(snapshot.state.id()))),
        ("success", (kind != JobKind::Diff).then_some(json!(true))),
        (
            "jobstatename",
            Some(json!(state_name(snapshot.state, style))),
        ),
        ("diffid", own_id.clone().filter(|_| kind == JobKind::Diff)),
        ("updateid", own_id.filter(|_| kind == JobKind::Update)),
        ("jobupdated", Some(number(times.updated))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

impl JsonStyle {
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

    fn progress(self, snapshot: &JobSnapshot<'_>) -> Value {
        match self {
            Self::Plain => json!(snapshot.progress),
            Self::Strings => json!(format!("{}.0", snapshot.progress)),
            Self::Sparse if snapshot.started => json!(snapshot.progress),
            Self::Sparse => Value::Null,
        }
    }

    /// The only time that the vendor documents as a string; the other styles send a number.
    fn start(self, at: i64) -> Value {
        if self == Self::Plain {
            json!(at.to_string())
        } else {
            json!(at)
        }
    }
}

fn state_name(state: JobState, style: JsonStyle) -> &'static str {
    match state {
        JobState::Created => "Created",
        JobState::Pending => "Pending",
        JobState::Queued => "Queued",
        JobState::Completed if style == JsonStyle::Plain => "Completed",
        JobState::Completed => "Complete",
        JobState::Failed => "Failed",
        JobState::Squashed => "Squashed",
        JobState::Running | JobState::Unknown(_) => "Running",
    }
}

/// The fields that `diff_info=1` requests.
fn info_fields(job: &ScriptedJob) -> [(&'static str, Value); 3] {
    let names = &job.names;
    let id = |n: u64| job.json_style.number(n);
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

/// Pushes `added`, `modified` and `removed`: `[]` when empty, as PHP encodes an empty map.
fn push_maps(pieces: &mut Vec<Piece>, job: &ScriptedJob, snapshot: &JobSnapshot<'_>) {
    let done = snapshot.ended && snapshot.progress == 100;
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
            if job.json_style != JsonStyle::Sparse {
                push_field(pieces, name, &json!([]));
            }
            continue;
        }
        push_name(pieces, name);
        push(pieces, "{");
        pieces.push(Piece::FileEntries(FileEntries::new(
            count.0,
            job.json_style == JsonStyle::Strings,
        )));
        push(pieces, "}");
    }
}

fn push_fields(pieces: &mut Vec<Piece>, fields: &[(&str, Value)]) {
    for (name, value) in fields {
        push_field(pieces, name, value);
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

/// Appends to the last piece if that is text, too.
fn push(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Bytes(bytes)) => bytes.extend_from_slice(text.as_bytes()),
        _ => pieces.push(Piece::Bytes(text.as_bytes().to_vec())),
    }
}
