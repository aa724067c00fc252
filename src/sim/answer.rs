//! An answer as the vendor writes it, contradictions included.
//!
//! The vendor's two reference pages contradict themselves, each other and what servers send. A job of shape
//! `plain` follows the example answers, `strings` sends every number as text, spells the rest the other way and
//! puts the maps first, `sparse` leaves out whatever may be missing.

use serde_json::{Value, json};

use super::body::{Files, Piece};
use super::life::{FileCounts, Job, Shape, Standing};
use crate::core::job::{JobKind, JobState};

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
    let mut fields = Vec::new();
    let number = |n: i64| {
        if shape == Shape::Strings {
            json!(n.to_string())
        } else {
            json!(n)
        }
    };
    let sparse = shape == Shape::Sparse;
    if diff && !sparse {
        fields.push(("imageversionid", number(40_000 + (id % 10_000) as i64)));
    }
    fields.push(("jobcreated", number(times.created)));
    let silence = if shape == Shape::Strings {
        json!("")
    } else {
        Value::Null
    };
    match standing.error {
        Some(error) => fields.push(("joberror", json!(error))),
        None if sparse => {}
        None => fields.push(("joberror", silence)),
    }
    if times.eta.is_some() || !sparse {
        fields.push(("jobeta", times.eta.map_or(Value::Null, number)));
    }
    let failed = match shape {
        Shape::Strings => json!(standing.jobfailed.to_string()),
        Shape::Sparse if standing.jobfailed < 2 => json!(standing.jobfailed == 1),
        _ => json!(standing.jobfailed),
    };
    fields.push(("jobfailed", failed));
    let progress = match shape {
        Shape::Strings => json!(format!("{}.0", standing.progress)),
        Shape::Sparse if !standing.started => Value::Null,
        _ => json!(standing.progress),
    };
    fields.push(("jobprogress", progress));
    if let Some(started) = times.started {
        // the one time the vendor documents as a string; here the shapes are the other way round
        let text = json!(started.to_string());
        fields.push((
            "jobstart",
            if shape == Shape::Plain {
                text
            } else {
                json!(started)
            },
        ));
    } else if !sparse {
        fields.push(("jobstart", Value::Null));
    }
    if !sparse {
        fields.push(("jobstateid", number(standing.state.id())));
    }
    if !diff {
        fields.push(("success", json!(true)));
    }
    fields.push(("jobstatename", json!(state_name(standing.state, shape))));
    if !sparse {
        fields.push((
            if diff { "diffid" } else { "updateid" },
            json!(if shape == Shape::Strings {
                json!(id.to_string())
            } else {
                json!(id)
            }),
        ));
    }
    fields.push(("jobupdated", number(times.updated)));
    fields
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
    let id = |n: u64| {
        if job.shape == Shape::Strings {
            json!(n.to_string())
        } else {
            json!(n)
        }
    };
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
