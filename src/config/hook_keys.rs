//! The keys of `[[hooks]]`: a part of the table in [`super::keys`].

use std::ops::RangeInclusive;
use std::time::Duration;

use super::keys::{Key, KeyDefault, ValueKind};

/// Default time limit of one attempt to run a program.
pub(super) const RUN_TIMEOUT: Duration = Duration::from_mins(5);
/// Default time limit of one attempt to call a webhook.
pub(super) const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// Shortest and longest `timeout`.
pub(super) const TIMEOUT_RANGE: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_hours(24));
/// Default of `retries`.
pub(super) const RETRIES: u32 = 8;
pub(super) const RETRIES_RANGE: RangeInclusive<u32> = 0..=100;
/// Default of `max_running`.
pub(super) const MAX_RUNNING: usize = 4;
pub(super) const MAX_RUNNING_RANGE: RangeInclusive<usize> = 1..=1000;

/// In the order of the example file.
pub(super) const HOOK_KEYS: &[Key] = &[
    required(
        "name",
        "up to 63 letters, digits, `.`, `_` or `-`",
        "\"next-step\"",
        "The hook's name; names are unique.",
    ),
    required(
        "on",
        "array of event types, or `job.*` for all job events",
        "[\"job.completed\"]",
        "The events that trigger the hook.",
    ),
    unset(
        "kinds",
        "array of `\"diff\"` and `\"update\"`",
        "[\"update\"]",
        "jobs of both kinds, and events of forgewatch itself",
        "The kinds of jobs whose events trigger the hook.",
    ),
    unset(
        "run",
        "array of strings: a program and its arguments",
        "[\"/usr/local/libexec/create-diff\"]",
        "webhook is required",
        "The program: an absolute path, relative to the file's directory, or found in PATH. It runs without a shell.",
    ),
    unset(
        "webhook",
        "URL",
        "\"https://hooks.example.net/forgewatch\"",
        "run is required",
        "The URL that receives the event by POST: https, or http to a loopback address.",
    ),
    unset(
        "timeout",
        "duration, 10ms to 1d",
        "\"5m\"",
        "5m for a program, 30s for a webhook",
        "Time limit for one attempt.",
    ),
    unset(
        "retries",
        "whole number, 0 to 100",
        "8",
        "8",
        "How often a failed attempt is retried before the delivery has failed.",
    ),
    unset(
        "max_running",
        "whole number, 1 to 1000",
        "4",
        "4",
        "Maximum number of concurrent attempts of this hook.",
    ),
    unset(
        "env",
        "table of strings",
        "{ STAGE = \"live\" }",
        "none",
        "Environment variables to set for the program.",
    ),
    unset(
        "pass_env",
        "array of names",
        "[\"JENKINS_URL\"]",
        "only PATH, HOME, LANG and TZ",
        "Environment variables to pass on to the program; never the credentials.",
    ),
    unset(
        "secret_files",
        "array of paths, relative to the file's directory",
        "[\"/etc/forgewatch/webhook.secret\"]",
        "none; required with webhook",
        "Files with one key `whsec_…` each, readable only by their owner; every key signs.",
    ),
];

const fn required(
    name: &'static str,
    accepted: &'static str,
    example: &'static str,
    doc: &'static str,
) -> Key {
    key(name, accepted, KeyDefault::Required { example }, doc)
}

const fn unset(
    name: &'static str,
    accepted: &'static str,
    example: &'static str,
    meaning: &'static str,
    doc: &'static str,
) -> Key {
    key(name, accepted, KeyDefault::Unset { example, meaning }, doc)
}

const fn key(
    name: &'static str,
    accepted: &'static str,
    default: KeyDefault,
    doc: &'static str,
) -> Key {
    Key {
        section: "hooks",
        name,
        kind: ValueKind::OfHook { accepted },
        default,
        flag: None,
        variable: None,
        doc,
    }
}
