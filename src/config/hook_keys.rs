//! The keys of `[[hooks]]`: the last part of the table of [`super::keys`].

use std::ops::RangeInclusive;
use std::time::Duration;

use super::keys::{Key, KeyDefault, ValueKind};

/// How long an attempt of a program may take, where nothing is written.
pub(super) const RUN_TIMEOUT: Duration = Duration::from_mins(5);
/// The same of a webhook.
pub(super) const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// The shortest and the longest that can be written.
pub(super) const TIMEOUT_SPAN: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_hours(24));
/// How often a failed attempt is repeated, where nothing is written.
pub(super) const RETRIES: u32 = 8;
/// The fewest and the most that can be written.
pub(super) const RETRIES_SPAN: RangeInclusive<u32> = 0..=100;
/// How many attempts run at once, where nothing is written.
pub(super) const MAX_RUNNING: usize = 4;
/// The fewest and the most that can be written.
pub(super) const MAX_RUNNING_SPAN: RangeInclusive<usize> = 1..=1000;

/// In the order of the example file.
pub(super) const HOOK_KEYS: &[Key] = &[
    required(
        "name",
        "text of up to 63 letters, digits and any of . _ -",
        "\"next-step\"",
        "What the hook is called; no two have one name.",
    ),
    required(
        "on",
        "array of types of events, or `job.*` for all of jobs",
        "[\"job.completed\"]",
        "What it is called for.",
    ),
    unset(
        "kinds",
        "array of `\"diff\"` and `\"update\"`",
        "[\"update\"]",
        "events of either kind, and the watcher's own",
        "The kinds of jobs whose events it is called for.",
    ),
    unset(
        "run",
        "array of texts: a program and its arguments",
        "[\"/usr/local/libexec/create-diff\"]",
        "the hook needs a webhook",
        "The program, absolute, relative to the file's folder or on PATH; run without a shell.",
    ),
    unset(
        "webhook",
        "URL",
        "\"https://hooks.example.net/forgewatch\"",
        "the hook needs a program to run",
        "Where the event is posted: https, or http to a loopback address.",
    ),
    unset(
        "timeout",
        "duration, 10ms to 1d",
        "\"5m\"",
        "5m for a program, 30s for a webhook",
        "The most one attempt may take.",
    ),
    unset(
        "retries",
        "whole number, 0 to 100",
        "8",
        "8",
        "How often a failed attempt is repeated before the delivery is given up.",
    ),
    unset(
        "max_running",
        "whole number, 1 to 1000",
        "4",
        "4",
        "The most attempts of this hook under way at once.",
    ),
    unset(
        "env",
        "table of texts",
        "{ STAGE = \"live\" }",
        "none",
        "Variables set for the program.",
    ),
    unset(
        "pass_env",
        "array of names",
        "[\"JENKINS_URL\"]",
        "none but PATH, HOME, LANG and TZ",
        "Variables of forgewatch's own environment that the program gets too; never the credentials.",
    ),
    unset(
        "secret_files",
        "array of paths; relative to the file's folder",
        "[\"/etc/forgewatch/webhook.secret\"]",
        "none, and a webhook needs one",
        "Files with a key `whsec_…` each, readable by their owner alone; all of them sign.",
    ),
];

const fn required(
    name: &'static str,
    takes: &'static str,
    example: &'static str,
    doc: &'static str,
) -> Key {
    key(name, takes, KeyDefault::Required { example }, doc)
}

const fn unset(
    name: &'static str,
    takes: &'static str,
    example: &'static str,
    meaning: &'static str,
    doc: &'static str,
) -> Key {
    key(name, takes, KeyDefault::Unset { example, meaning }, doc)
}

const fn key(
    name: &'static str,
    takes: &'static str,
    preset: KeyDefault,
    doc: &'static str,
) -> Key {
    Key {
        section: "hooks",
        name,
        kind: ValueKind::OfHook { takes },
        preset,
        flag: None,
        variable: None,
        doc,
    }
}
