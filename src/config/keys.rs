//! The table of keys, except those of `[[jobs]]` and `[[hooks]]` in `entry_keys`. The file's keys, their flags and
//! environment variables, the defaults, the checks, the manual, the example file and the JSON Schema all come from it: a
//! new key is a row here.

use std::time::Duration;

use super::entry_keys::{HOOKS, JOBS};
use super::http;
use super::key::{
    Section, array, count, duration, duration_or_never, path, rate, size, socket, switch, text,
    word,
};
use super::settings::Settings;
use super::value;
use crate::clanforge::UpdateAddress;
use forgewatch_core::limits::JobFailed;
use forgewatch_core::schedule::Policy;

const MILLISECOND: Duration = Duration::from_millis(1);
const SHORTEST: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(365 * 24);

pub(super) const DEFAULT_BASE_URL: &str = "https://api.multiplay.co.uk";
pub(super) const DEFAULT_STATE: &str = "/var/lib/forgewatch/state.db";
pub(super) const DEFAULT_SOCKET: &str = "/run/forgewatch/control.sock";
/// Overrides `control.socket`.
pub(super) const SOCKET_VARIABLE: &str = "FORGEWATCH_SOCKET";

/// The keys before all sections.
pub(super) static ROOT: &Section<Settings> = &SETTINGS[0];

/// The sections that the file has once. The first has no name: its keys stand before all sections.
pub(super) static SETTINGS: [Section<Settings>; 6] = [
    Section::of_daemon(
        "",
        &[text(
            "instance",
            "up to 64 letters, digits, `.`, `_` or `-`",
            "^[A-Za-z0-9._-]{1,64}$",
            |s: &mut Settings, text| {
                value::instance(text).map(|name| s.limits.origin.instance = Some(name.into()))
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
                .default_by_user(DEFAULT_STATE, "$XDG_STATE_HOME/forgewatch/state.db")
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
                .default_by_user(DEFAULT_SOCKET, "$XDG_RUNTIME_DIR/forgewatch/control.sock")
                .variable(SOCKET_VARIABLE),
            text(
                "group",
                "group name",
                "^[^-\\s:,/][^\\s:,/]*$",
                |s: &mut Settings, text| {
                    value::group(text).map(|name| s.control.group = Some(name.to_owned()))
                },
            )
            .doc(
                "Group that may use the socket, besides root and the daemon's user; if it \
                 does not exist, the daemon warns",
            )
            .default_by_user("forgewatch-ops", "none"),
            duration("stop_grace", Duration::ZERO, HOUR, |s: &mut Settings, t| {
                s.control.stop_grace = t;
            })
            .doc("How long running hooks may continue at shutdown before they are terminated")
            .default("15s"),
        ],
    ),
    Section::of_daemon(
        "http",
        &[
            text(
                "listen",
                "IP address and port",
                "^([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$",
                |s: &mut Settings, text| {
                    http::listen(text).map(|address| s.http.listen = Some(address))
                },
            )
            .doc("Address on which the daemon serves its HTTP API; a change needs a restart")
            .optional("no HTTP API", "127.0.0.1:9464"),
            switch("allow_remote", |s: &mut Settings, on| {
                s.http.allow_remote = on;
            })
            .doc(
                "Allow an address that other machines reach; then every request needs a token, \
                 except those to `/-/healthy` and `/-/ready`",
            )
            .default("false"),
            array(
                "hosts",
                "array of host names, with or without a port",
                Vec::new,
                |s: &mut Settings, value, reader| {
                    s.http.hosts = reader.array(value, str::parse).unwrap_or_default();
                },
            )
            .doc("Hosts that requests may name, besides loopback names with the port of `listen`")
            .optional("none", "[\"build01\"]"),
            array(
                "token_files",
                "array of paths, relative to the file's directory",
                Vec::new,
                |s: &mut Settings, value, reader| {
                    let folder = reader.document.folder();
                    let tokens = reader.array(value, |file| http::token_file(folder, file));
                    s.http.tokens = tokens.unwrap_or_default();
                },
            )
            .doc(
                "Files with one bearer token each, readable only by their owner; requests that \
                 change something need one of them",
            )
            .optional(
                "requests that change something are rejected",
                "[\"/etc/forgewatch/http.token\"]",
            ),
            switch("job_metrics", |s: &mut Settings, on| {
                s.http.job_metrics = on;
            })
            .doc("Add the progress of each watched job to `/metrics`; every job adds series to Prometheus")
            .default("false"),
        ],
    ),
];

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

/// Every section with a name.
pub(super) fn section_names() -> impl Iterator<Item = &'static str> + Clone {
    let settings = SETTINGS.iter().map(|section| section.name);
    settings
        .chain([JOBS.name, HOOKS.name])
        .filter(|name| !name.is_empty())
}
