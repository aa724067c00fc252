//! The table of keys. The file's keys, their flags and environment variables, the defaults, the checks, the manual, the
//! example file and the JSON Schema all come from it: a new key is a row here.

use std::time::Duration;

use super::env;
use super::hooks::{self, HookDraft};
use super::jobs::{self, JobDraft};
use super::key::{
    Section, array, count, duration, duration_or_never, file, path, rate, size, socket, switch,
    table, text, word,
};
use super::settings::Settings;
use super::value;
use super::webhook;
use crate::clanforge::UpdateAddress;
use forgewatch_core::format::Format;
use forgewatch_core::job::JobKind;
use forgewatch_core::limits::JobFailed;
use forgewatch_core::schedule::Policy;

const MILLISECOND: Duration = Duration::from_millis(1);
const SHORTEST: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(365 * 24);

pub(super) const DEFAULT_BASE_URL: &str = "https://api.multiplay.co.uk";
pub(super) const DEFAULT_SOCKET: &str = "/run/forgewatch/control.sock";
/// Overrides `control.socket`.
pub(super) const SOCKET_VARIABLE: &str = "FORGEWATCH_SOCKET";

/// Reserved sections of features that do not exist yet.
pub(super) const RESERVED_SECTIONS: [&str; 1] = ["http"];

/// The keys before all sections.
pub(super) static ROOT: &Section<Settings> = &SETTINGS[0];

/// The sections that the file has once. The first has no name: its keys stand before all sections.
pub(super) static SETTINGS: [Section<Settings>; 5] = [
    Section::of_daemon(
        "",
        &[text(
            "instance",
            "up to 64 letters, digits, `.`, `_` or `-`",
            "^[A-Za-z0-9._-]{1,64}$",
            |s: &mut Settings, text| {
                value::instance(text).map(|name| s.limits.instance = Some(name.into()))
            },
        )
        .doc("Name of this forgewatch in records, and in the `source` of events for hooks")
        .optional("the host name", "build01")],
    ),
    Section::shared(
        "api",
        &[
            text("base_url", "URL", "^https?://", |s: &mut Settings, text| {
                value::base_url(text).map(|url| s.api.base_url = url)
            })
            .doc(
                "Base URL of the API: https, or http to a loopback address; a path prefix \
                 is kept",
            )
            .default(DEFAULT_BASE_URL)
            .flag("--base-url", "URL")
            .variable("FORGEWATCH_BASE_URL"),
            count("account_service_id", 1, u64::MAX, |s: &mut Settings, n| {
                s.api.account_service_id = n;
            })
            .doc("Account service that the jobs belong to")
            .required("5678")
            .flag("--account-service-id", "ID")
            .variable("FORGEWATCH_ACCOUNT_SERVICE_ID"),
            path("credentials_file", |s: &mut Settings, path| {
                s.credentials_file = Some(path);
            })
            .doc("File with one line ACCESS:SECRET, readable only by its owner")
            .optional(
                "credentials from the environment or systemd",
                "/etc/forgewatch/credentials",
            )
            .flag("--credentials-file", "FILE")
            .variable("FORGEWATCH_CREDENTIALS_FILE"),
            path("ca_file", |s: &mut Settings, path| {
                s.api.ca_file = Some(path);
            })
            .doc("Certificate authorities (PEM) to trust in addition to the system's")
            .optional("only the system's", "/etc/ssl/studio-ca.pem"),
            duration(
                "connect_timeout",
                SHORTEST,
                Duration::from_mins(5),
                |s: &mut Settings, t| s.api.connect_timeout = t,
            )
            .doc("Time limit for name lookup, connection and TLS handshake together")
            .default("5s"),
            duration("timeout", SHORTEST, HOUR, |s: &mut Settings, t| {
                s.api.timeout = t;
            })
            .doc(
                "Time limit for the first MiB of a response; after that, 64 KiB/s over \
                     any 10 s are enough",
            )
            .default("30s"),
            count("max_in_flight", 1, 10_000, |s: &mut Settings, n| {
                s.api.max_in_flight = n as usize;
            })
            .doc("Maximum number of concurrent requests")
            .default("32"),
            rate(
                "max_requests_per_second",
                0.001,
                100_000.0,
                |s: &mut Settings, rate| s.api.max_requests_per_second = rate,
            )
            .doc("Maximum average rate of requests; 20 are enough for about 2,000 jobs")
            .default("20"),
            word("jobfailed", &["flag", "count"], |s: &mut Settings, word| {
                s.limits.jobfailed = match word {
                    "count" => JobFailed::Count,
                    _ => JobFailed::Flag,
                };
            })
            .doc(
                "Meaning of `jobfailed` in a response: the job failed, or the number of \
                 failures so far",
            )
            .default("flag")
            .flag("--jobfailed", "MEANING"),
            word(
                "update_address",
                &["auto", "path", "query"],
                |s: &mut Settings, word| {
                    s.api.update_address = match word {
                        "path" => UpdateAddress::Path,
                        "query" => UpdateAddress::Query,
                        _ => UpdateAddress::Auto,
                    };
                },
            )
            .doc(
                "Where the ID of an update stands in the address of its status; `auto` \
                 tries the query if the path is not found, and keeps the one that is",
            )
            .default("auto"),
            switch("diff_info", |s: &mut Settings, on| s.limits.diff_info = on)
                .doc("Request the names of a diff's game, image and machine once")
                .default("true"),
            size("max_body", 1 << 10, 1 << 40, |s: &mut Settings, bytes| {
                s.api.max_body = bytes;
            })
            .doc(
                "Maximum size of a response after decompression; it is read as a stream \
                 and never held whole",
            )
            .default("1GiB"),
        ],
    ),
    Section::shared(
        "schedule",
        &[
            word(
                "policy",
                &["inspection", "exponential"],
                |s: &mut Settings, word| {
                    s.limits.schedule.policy = match word {
                        "exponential" => Policy::Exponential,
                        _ => Policy::Inspection,
                    };
                },
            )
            .doc(
                "How the time of the next poll is chosen; exponential is x1.5 from \
                 min_interval to 30 s",
            )
            .default("inspection")
            .flag("--policy", "POLICY"),
            duration("request_cost", MILLISECOND, HOUR, |s: &mut Settings, t| {
                s.limits.schedule.request_cost = t;
            })
            .doc("Delay in detecting a job's end that is worth one request")
            .default("1s")
            .flag("--request-cost", "DURATION"),
            duration("min_interval", SHORTEST, HOUR, |s: &mut Settings, t| {
                s.limits.schedule.min_interval = t;
            })
            .doc("Shortest time between two polls of a job")
            .default("1s")
            .flag("--min-interval", "DURATION"),
            duration("max_interval", SHORTEST, DAY, |s: &mut Settings, t| {
                s.limits.schedule.max_interval = t;
            })
            .doc("Longest time between two polls of a job")
            .default("10m")
            .flag("--max-interval", "DURATION"),
            count("progress_step", 1, 100, |s: &mut Settings, n| {
                s.limits.progress_step = n as u8;
            })
            .doc("Emit a progress event at every multiple of this many percent")
            .default("10"),
            duration("stalled_after", SHORTEST, YEAR, |s: &mut Settings, t| {
                s.limits.stalled_after = t;
            })
            .doc("Report a job as stalled after this time without progress")
            .default("30m"),
            duration(
                "unreachable_after",
                SHORTEST,
                YEAR,
                |s: &mut Settings, t| s.limits.unreachable_after = t,
            )
            .doc("Report a job as unreachable after polling has failed for this long")
            .default("2m"),
            duration(
                "not_found_grace",
                Duration::ZERO,
                DAY,
                |s: &mut Settings, t| s.limits.not_found_grace = t,
            )
            .doc(
                "End a watch whose job was not found for this long; a new job may not be \
                 found at first",
            )
            .default("60s")
            .flag("--not-found-grace", "DURATION"),
            duration_or_never("give_up_after", SHORTEST, YEAR, |s: &mut Settings, t| {
                s.limits.give_up_after = t;
            })
            .doc("End a watch whose polls have failed for this long, or `never`")
            .default_by_mode("10m", "never")
            .flag("--give-up-after", "DURATION"),
            switch("learn_from_loopback", |s: &mut Settings, on| {
                s.learn_from_loopback = on;
            })
            .doc(
                "Learn how long jobs run from a server on a loopback address too; \
                 simulated jobs say little about others",
            )
            .default("false"),
        ],
    ),
    Section::of_daemon(
        "state",
        &[
            path("path", |s: &mut Settings, path| s.state.path = path)
                .doc("State file; a change needs a restart")
                .default("/var/lib/forgewatch/state.db")
                .flag("--state", "FILE"),
            duration(
                "retain",
                SECOND,
                Duration::from_hours(3650 * 24),
                |s: &mut Settings, t| s.state.retain = t,
            )
            .doc("How long ended jobs and their events are kept")
            .default("30d"),
        ],
    ),
    Section::of_daemon(
        "control",
        &[
            socket("socket", |s: &mut Settings, path| s.control.socket = path)
                .doc("Socket on which the daemon accepts commands; a change needs a restart")
                .default(DEFAULT_SOCKET)
                .variable(SOCKET_VARIABLE),
            text(
                "group",
                "group name",
                "^[^-\\s:,/][^\\s:,/]*$",
                |s: &mut Settings, text| {
                    value::group(text).map(|name| name.clone_into(&mut s.control.group))
                },
            )
            .doc(
                "Group that may use the socket, besides root and the daemon's user; if it \
                 does not exist, the daemon warns",
            )
            .default("forgewatch-ops"),
            duration("stop_grace", Duration::ZERO, HOUR, |s: &mut Settings, t| {
                s.control.stop_grace = t;
            })
            .doc("How long running hooks may continue at shutdown before they are terminated")
            .default("15s"),
        ],
    ),
];

pub(super) static JOBS: Section<JobDraft> = Section::array(
    "jobs",
    "Jobs to watch if the command line names none; repeat the table for each.",
    &[
        text(
            "job",
            "`diff/ID` or `update/ID`",
            "^(diff|update|version)/0*[1-9][0-9]*$",
            |entry: &mut JobDraft, text| jobs::parse(text).map(|job| entry.job = Some(job)),
        )
        .doc("Job to watch if the command line names none")
        .required("diff/1234"),
        table("labels", |entry: &mut JobDraft, value, reader| {
            entry.labels = jobs::labels_from_file(value, reader);
        })
        .doc("Labels added to every event of the job")
        .optional("none", "{ build = \"8812\" }"),
    ],
);

pub(super) static HOOKS: Section<HookDraft> = Section::array(
    "hooks",
    "Programs and webhooks that receive events; repeat the table for each.",
    &[
        text(
            "name",
            "up to 63 letters, digits, `.`, `_` or `-`",
            "^[A-Za-z0-9._-]{1,63}$",
            |hook: &mut HookDraft, text| {
                hooks::name(text).map(|name| hook.name = Some(name.to_owned()))
            },
        )
        .doc("Name of the hook, different from all others")
        .required("next-step"),
        array(
            "on",
            "array of event types, or `job.*` for all job events",
            || hooks::event_types().collect(),
            |hook: &mut HookDraft, value, reader| hook.on = hooks::on(value, reader),
        )
        .doc("Events that trigger the hook")
        .required("[\"job.completed\"]"),
        array(
            "kinds",
            "array of `\"diff\"`, `\"update\"` and `\"version\"`",
            || JobKind::ALL.map(JobKind::as_str).to_vec(),
            |hook: &mut HookDraft, value, reader| hook.kinds = reader.array(value, hooks::job_kind),
        )
        .doc("Kinds of jobs whose events trigger the hook")
        .optional(
            "jobs of all kinds, and events of forgewatch itself",
            "[\"update\"]",
        ),
        table("labels", |hook: &mut HookDraft, value, reader| {
            hook.labels = jobs::labels_from_file(value, reader);
        })
        .doc("Labels of the jobs whose events trigger the hook: all of them")
        .optional("jobs with any labels", "{ stage = \"live\" }"),
        array(
            "run",
            "array of strings: a program and its arguments",
            Vec::new,
            |hook: &mut HookDraft, value, reader| hook.run = hooks::run(value, reader),
        )
        .doc(
            "Program to run without a shell: an absolute path, relative to the file's \
             directory, or found in PATH",
        )
        .optional(
            "webhook or webhook_file is required",
            "[\"/usr/local/libexec/create-diff\"]",
        ),
        text(
            "webhook",
            "URL",
            "^https?://",
            |hook: &mut HookDraft, text| {
                webhook::webhook_url(text).map(|url| hook.webhook = Some(url))
            },
        )
        .doc("URL that receives the event by POST: https, or http to a loopback address")
        .optional(
            "run or webhook_file is required",
            "https://hooks.example.net/forgewatch",
        ),
        file("webhook_file", |hook: &mut HookDraft, value, reader| {
            hook.secret_url = reader.file(value, webhook::url_file);
        })
        .doc("File with a URL that is itself a secret, readable only by its owner; instead of webhook")
        .optional("run or webhook is required", "/etc/forgewatch/chat.url"),
        word("format", &Format::NAMES, |hook: &mut HookDraft, word| {
            hook.format = Format::NAMES.into_iter().find(|name| *name == word);
        })
        .doc("Form in which the webhook receives events")
        .default("cloudevents"),
        file("body_file", |hook: &mut HookDraft, value, reader| {
            hook.body = reader.file(value, webhook::body_file);
        })
        .doc("Template of the body in Jinja's syntax, with the fields of the event as JSON")
        .optional(
            "format `template` requires it",
            "/etc/forgewatch/body.json",
        ),
        duration("timeout", SHORTEST, DAY, |hook: &mut HookDraft, t| {
            hook.timeout = Some(t);
        })
        .doc("Time limit for one attempt")
        .optional("5m for a program, 30s for a webhook", "5m"),
        count("retries", 0, 100, |hook: &mut HookDraft, n| {
            hook.retries = n as u32;
        })
        .doc("How often a failed attempt is retried before the delivery has failed")
        .default("8"),
        count("max_running", 1, 1000, |hook: &mut HookDraft, n| {
            hook.max_running = n as usize;
        })
        .doc("Maximum number of concurrent attempts of this hook")
        .default("4"),
        table("env", |hook: &mut HookDraft, value, reader| {
            hook.env = reader.table(value, "{ STAGE = \"live\" }", hooks::assignment);
        })
        .doc("Environment variables to set for the program")
        .optional("none", "{ STAGE = \"live\" }"),
        array(
            "pass_env",
            "array of names",
            Vec::new,
            |hook: &mut HookDraft, value, reader| {
                let names = reader.array(value, |name| env::variable(name).map(str::to_owned));
                hook.pass_env = names.unwrap_or_default();
            },
        )
        .doc("Environment variables to pass on to the program; never the credentials")
        .optional("only PATH, HOME, LANG and TZ", "[\"JENKINS_URL\"]"),
        array(
            "secret_files",
            "array of paths, relative to the file's directory",
            Vec::new,
            |hook: &mut HookDraft, value, reader| {
                let folder = reader.document.folder();
                let secrets = reader.array(value, |file| webhook::key_file(folder, file));
                hook.secrets.extend(secrets.unwrap_or_default());
            },
        )
        .doc(
            "Files with one key `whsec_…` each, readable only by their owner; every \
             key signs",
        )
        .optional(
            "requests are not signed",
            "[\"/etc/forgewatch/webhook.secret\"]",
        ),
        array(
            "secret_env",
            "array of names",
            Vec::new,
            |hook: &mut HookDraft, value, reader| {
                let env = reader.document.env;
                let secrets = reader.array(value, |name| webhook::key_variable(env, name));
                hook.secrets.extend(secrets.unwrap_or_default());
            },
        )
        .doc("Environment variables with one key `whsec_…` each; every key signs")
        .optional(
            "requests are not signed",
            "[\"FORGEWATCH_WEBHOOK_KEY\"]",
        ),
    ],
);

/// Every key as `(section, key)`.
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static str)> + Clone {
    SETTINGS
        .iter()
        .flat_map(Section::key_names)
        .chain(JOBS.key_names())
        .chain(HOOKS.key_names())
}

/// Where in a file the keys of a section are written.
pub(super) fn place(section: &str) -> String {
    match section {
        "" => "at the top, before the first section".to_owned(),
        section => format!("in [{section}]"),
    }
}

/// Every section with a name, reserved ones excluded.
pub(super) fn section_names() -> impl Iterator<Item = &'static str> + Clone {
    let settings = SETTINGS.iter().map(|section| section.name);
    settings
        .chain([JOBS.name, HOOKS.name])
        .filter(|name| !name.is_empty())
}
