//! The table of keys. The file's keys, their flags and environment variables, the defaults, the manual's table and the
//! example file all come from it.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::daemon_keys::DAEMON_KEYS;
use super::hook_keys::HOOK_KEYS;
use super::jobs::JOB_KEYS;
use super::layers::Values;
use forgewatch_core::limits::JobFailed;
use forgewatch_core::schedule::Policy;

/// One key of the configuration.
pub(super) struct Key {
    /// The TOML table; `jobs` and `hooks` are arrays of tables.
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: ValueKind,
    pub(super) default: KeyDefault,
    pub(super) flag: Option<&'static str>,
    pub(super) variable: Option<&'static str>,
    /// One sentence for the manual and the example file.
    pub(super) doc: &'static str,
}

/// A key's default. Values are written as on the command line: as in the file, but without quotes.
pub(super) enum KeyDefault {
    Value(&'static str),
    /// No value. `meaning` describes the behavior without one.
    Unset {
        example: &'static str,
        meaning: &'static str,
    },
    /// The key must be set.
    Required {
        example: &'static str,
    },
}

/// The values that a key accepts, and the field that it sets.
pub(super) enum ValueKind {
    /// A duration in humantime's syntax.
    Duration {
        min: Duration,
        max: Duration,
        set: fn(&mut Values, Duration),
    },
    /// A duration, or `never`, which becomes None.
    DurationOrNever {
        min: Duration,
        max: Duration,
        set: fn(&mut Values, Option<Duration>),
    },
    Count {
        min: u64,
        max: u64,
        set: fn(&mut Values, u64),
    },
    /// A number, fractions included.
    Rate {
        min: f64,
        max: f64,
        set: fn(&mut Values, f64),
    },
    /// A number of bytes, plain or with a unit such as MiB or kB.
    Size {
        min: u64,
        max: u64,
        set: fn(&mut Values, u64),
    },
    Switch {
        set: fn(&mut Values, bool),
    },
    Word {
        words: &'static [&'static str],
        set: fn(&mut Values, &str),
    },
    /// A path. In a file, it is relative to that file's directory.
    File {
        set: fn(&mut Values, PathBuf),
    },
    /// The path of a Unix socket, which is limited in length.
    Socket {
        set: fn(&mut Values, PathBuf),
    },
    /// The name of a Unix group.
    Group {
        set: fn(&mut Values, &str),
    },
    /// See [`super::base_url`].
    BaseUrl {
        set: fn(&mut Values, Url),
    },
    /// See [`super::jobs`].
    Job,
    Labels,
    /// A key of a hook; see [`super::hooks`]. Its example is a TOML value.
    OfHook {
        /// The accepted values, for the manual.
        accepted: &'static str,
    },
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SHORTEST: Duration = Duration::from_millis(10);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(365 * 24);

/// All keys. Within a section, they are in the order of the example file.
pub(super) fn all() -> impl Iterator<Item = &'static Key> + Clone {
    settings().chain(JOB_KEYS).chain(HOOK_KEYS)
}

/// The keys of plain tables: all except those of `[[jobs]]` and `[[hooks]]`.
pub(super) fn settings() -> impl Iterator<Item = &'static Key> + Clone {
    KEYS.iter().chain(DAEMON_KEYS)
}

/// The keys of `[api]` and `[schedule]`, which the one-shot and the daemon share.
const KEYS: &[Key] = &[
    Key {
        section: "api",
        name: "base_url",
        kind: ValueKind::BaseUrl {
            set: |d, url| d.base_url = Some(url),
        },
        default: KeyDefault::Value("https://api.multiplay.co.uk"),
        flag: Some("--base-url"),
        variable: Some("FORGEWATCH_BASE_URL"),
        doc: "The API's address: https, or http to a loopback address. A path prefix is kept.",
    },
    Key {
        section: "api",
        name: "account_service_id",
        kind: ValueKind::Count {
            min: 1,
            max: u64::MAX,
            set: |d, n| d.account_service_id = n,
        },
        default: KeyDefault::Required { example: "5678" },
        flag: Some("--account-service-id"),
        variable: Some("FORGEWATCH_ACCOUNT_SERVICE_ID"),
        doc: "The account service that the jobs belong to.",
    },
    Key {
        section: "api",
        name: "credentials_file",
        kind: ValueKind::File {
            set: |d, path| d.credentials_file = Some(path),
        },
        default: KeyDefault::Unset {
            example: "/etc/forgewatch/credentials",
            meaning: "credentials from the environment or systemd",
        },
        flag: Some("--credentials-file"),
        variable: Some("FORGEWATCH_CREDENTIALS_FILE"),
        doc: "A file with one line ACCESS:SECRET, readable only by its owner.",
    },
    Key {
        section: "api",
        name: "ca_file",
        kind: ValueKind::File {
            set: |d, path| d.ca_file = Some(path),
        },
        default: KeyDefault::Unset {
            example: "/etc/ssl/studio-ca.pem",
            meaning: "only the system's",
        },
        flag: None,
        variable: None,
        doc: "Certificate authorities (PEM) trusted in addition to the system's.",
    },
    Key {
        section: "api",
        name: "connect_timeout",
        kind: ValueKind::Duration {
            min: SHORTEST,
            max: Duration::from_mins(5),
            set: |d, t| d.connect_timeout = t,
        },
        default: KeyDefault::Value("5s"),
        flag: None,
        variable: None,
        doc: "Time limit for name lookup, connection and TLS handshake together.",
    },
    Key {
        section: "api",
        name: "timeout",
        kind: ValueKind::Duration {
            min: SHORTEST,
            max: HOUR,
            set: |d, t| d.timeout = t,
        },
        default: KeyDefault::Value("30s"),
        flag: None,
        variable: None,
        doc: "Time limit for the first MiB of a response; after that, 64 KiB/s over any 10 s are enough.",
    },
    Key {
        section: "api",
        name: "max_in_flight",
        kind: ValueKind::Count {
            min: 1,
            max: 10_000,
            set: |d, n| d.max_in_flight = n as usize,
        },
        default: KeyDefault::Value("32"),
        flag: None,
        variable: None,
        doc: "Maximum number of concurrent requests.",
    },
    Key {
        section: "api",
        name: "max_requests_per_second",
        kind: ValueKind::Rate {
            min: 0.001,
            max: 100_000.0,
            set: |d, rate| d.max_requests_per_second = rate,
        },
        default: KeyDefault::Value("20"),
        flag: None,
        variable: None,
        doc: "Maximum average rate of requests; 20 are enough for about 2,000 jobs.",
    },
    Key {
        section: "api",
        name: "jobfailed",
        kind: ValueKind::Word {
            words: &["flag", "count"],
            set: |d, word| {
                d.jobfailed = match word {
                    "count" => JobFailed::Count,
                    _ => JobFailed::Flag,
                };
            },
        },
        default: KeyDefault::Value("flag"),
        flag: Some("--jobfailed"),
        variable: None,
        doc: "Meaning of `jobfailed` in a response: the job failed, or how often it failed and was retried.",
    },
    Key {
        section: "api",
        name: "diff_info",
        kind: ValueKind::Switch {
            set: |d, on| d.diff_info = on,
        },
        default: KeyDefault::Value("true"),
        flag: None,
        variable: None,
        doc: "Request the names of a diff's game, image and machine once.",
    },
    Key {
        section: "api",
        name: "max_body",
        kind: ValueKind::Size {
            min: 1 << 10,
            max: 1 << 40,
            set: |d, bytes| d.max_body = bytes,
        },
        default: KeyDefault::Value("1GiB"),
        flag: None,
        variable: None,
        doc: "Maximum size of a response after decompression; it is read as a stream and never held whole.",
    },
    Key {
        section: "schedule",
        name: "policy",
        kind: ValueKind::Word {
            words: &["inspection", "exponential"],
            set: |d, word| {
                d.policy = match word {
                    "exponential" => Policy::Exponential,
                    _ => Policy::Inspection,
                };
            },
        },
        default: KeyDefault::Value("inspection"),
        flag: Some("--policy"),
        variable: None,
        doc: "How the time of the next poll is chosen; exponential is x1.5 from min_interval to 30 s.",
    },
    Key {
        section: "schedule",
        name: "request_cost",
        kind: ValueKind::Duration {
            min: MILLISECOND,
            max: HOUR,
            set: |d, t| d.request_cost = t,
        },
        default: KeyDefault::Value("1s"),
        flag: Some("--request-cost"),
        variable: None,
        doc: "The delay in detecting a job's end that is worth one request.",
    },
    Key {
        section: "schedule",
        name: "min_interval",
        kind: ValueKind::Duration {
            min: SHORTEST,
            max: HOUR,
            set: |d, t| d.min_interval = t,
        },
        default: KeyDefault::Value("1s"),
        flag: Some("--min-interval"),
        variable: None,
        doc: "Minimum time between two polls of a job.",
    },
    Key {
        section: "schedule",
        name: "max_interval",
        kind: ValueKind::Duration {
            min: SHORTEST,
            max: DAY,
            set: |d, t| d.max_interval = t,
        },
        default: KeyDefault::Value("10m"),
        flag: Some("--max-interval"),
        variable: None,
        doc: "Maximum time between two polls of a job.",
    },
    Key {
        section: "schedule",
        name: "progress_step",
        kind: ValueKind::Count {
            min: 1,
            max: 100,
            set: |d, n| d.progress_step = n as u8,
        },
        default: KeyDefault::Value("10"),
        flag: None,
        variable: None,
        doc: "Emit a progress event at every multiple of this many percent.",
    },
    Key {
        section: "schedule",
        name: "stalled_after",
        kind: ValueKind::Duration {
            min: SHORTEST,
            max: YEAR,
            set: |d, t| d.stalled_after = t,
        },
        default: KeyDefault::Value("30m"),
        flag: None,
        variable: None,
        doc: "Report a job as stalled after this time without progress.",
    },
    Key {
        section: "schedule",
        name: "unreachable_after",
        kind: ValueKind::Duration {
            min: SHORTEST,
            max: YEAR,
            set: |d, t| d.unreachable_after = t,
        },
        default: KeyDefault::Value("2m"),
        flag: None,
        variable: None,
        doc: "Report a job as unreachable after polling has failed for this long.",
    },
    Key {
        section: "schedule",
        name: "not_found_grace",
        kind: ValueKind::Duration {
            min: Duration::ZERO,
            max: DAY,
            set: |d, t| d.not_found_grace = t,
        },
        default: KeyDefault::Value("60s"),
        flag: Some("--not-found-grace"),
        variable: None,
        doc: "How long a job may be missing before its watch ends: a job just created may not be found yet.",
    },
    Key {
        section: "schedule",
        name: "give_up_after",
        kind: ValueKind::DurationOrNever {
            min: SHORTEST,
            max: YEAR,
            set: |d, t| d.give_up_after = t,
        },
        default: KeyDefault::Unset {
            example: "10m",
            meaning: "10m with --until-done, else never",
        },
        flag: Some("--give-up-after"),
        variable: None,
        doc: "How long polling may fail before a job's watch ends, or never.",
    },
];

/// Shortest and longest duration of the one-shot's flags, which have no key in the file.
pub(super) const ONE_SHOT_RANGE: (Duration, Duration) = (MILLISECOND, YEAR);
/// Default interval of heartbeat lines in `text`.
pub(super) const HEARTBEAT: Duration = MINUTE;

/// The sections that have keys.
pub(super) const SECTIONS: [&str; 6] = ["api", "schedule", "state", "control", "jobs", "hooks"];
/// The sections that only the daemon uses.
pub(super) const DAEMON_SECTIONS: [&str; 2] = ["state", "control"];
/// Reserved sections of features that do not exist yet.
pub(super) const RESERVED_SECTIONS: [&str; 1] = ["http"];

impl Key {
    /// `section.name`, as in messages.
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// A valid value, without quotes.
    pub(super) fn example(&self) -> &'static str {
        match self.default {
            KeyDefault::Value(text)
            | KeyDefault::Unset { example: text, .. }
            | KeyDefault::Required { example: text } => text,
        }
    }

    pub(super) fn find(section: &str, name: &str) -> Option<&'static Self> {
        all().find(|key| key.section == section && key.name == name)
    }
}
