//! The one table of keys. What a file may hold, what the flags and variables of the same meaning may say, the
//! compiled defaults, the manual's table and the example file all come from it.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::daemon_keys::DAEMON_KEYS;
use super::hook_keys::HOOK_KEYS;
use super::jobs::JOB_KEYS;
use super::layers::Values;
use forgewatch_core::limits::JobFailed;
use forgewatch_core::schedule::Policy;

/// One key of the file.
pub(super) struct Key {
    /// The table it is in; `jobs` is an array of tables.
    pub(super) section: &'static str,
    /// Its name there.
    pub(super) name: &'static str,
    /// What can be written, and where it goes.
    pub(super) kind: ValueKind,
    /// What holds when nothing is written.
    pub(super) preset: KeyDefault,
    /// The flag that says the same.
    pub(super) flag: Option<&'static str>,
    /// The variable that says the same.
    pub(super) variable: Option<&'static str>,
    /// One sentence for the manual.
    pub(super) doc: &'static str,
}

/// What holds when nothing is written. Values are in the form of a flag: as in the file, but without quotes.
pub(super) enum KeyDefault {
    /// This.
    Value(&'static str),
    /// What `meaning` says; `example` could be written.
    Unset {
        example: &'static str,
        meaning: &'static str,
    },
    /// Nothing does: it has to be written.
    Required { example: &'static str },
}

/// What can be written for a key, and where it goes.
pub(super) enum ValueKind {
    /// A duration as humantime reads it.
    Duration {
        min: Duration,
        max: Duration,
        set: fn(&mut Values, Duration),
    },
    /// The same, or the word `never`, which is None.
    DurationOrNever {
        min: Duration,
        max: Duration,
        set: fn(&mut Values, Option<Duration>),
    },
    /// A whole number.
    Count {
        min: u64,
        max: u64,
        set: fn(&mut Values, u64),
    },
    /// A number with or without a fraction.
    Rate {
        min: f64,
        max: f64,
        set: fn(&mut Values, f64),
    },
    /// Bytes, as a plain number or with one of the units KiB, MiB, GiB, kB, MB, GB.
    Size {
        min: u64,
        max: u64,
        set: fn(&mut Values, u64),
    },
    /// true or false.
    Switch { set: fn(&mut Values, bool) },
    /// One of a few words.
    Word {
        words: &'static [&'static str],
        set: fn(&mut Values, &str),
    },
    /// A path; in a file, relative to that file's folder.
    File { set: fn(&mut Values, PathBuf) },
    /// The path of a socket; the same, but no longer than the system takes.
    Socket { set: fn(&mut Values, PathBuf) },
    /// The name of a group of users.
    Group { set: fn(&mut Values, &str) },
    /// The API's base; see [`super::base_url`].
    BaseUrl { set: fn(&mut Values, Url) },
    /// A job's name; see [`super::jobs`].
    Job,
    /// A table of labels; see [`super::jobs`].
    Labels,
    /// A key of a hook; see [`super::hooks`]. Its example is TOML as it stands.
    OfHook {
        /// What can be written, for the manual.
        takes: &'static str,
    },
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SHORTEST: Duration = Duration::from_millis(10);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(365 * 24);

/// Every key there is. In a section, they are in the order of the example file.
pub(super) fn all() -> impl Iterator<Item = &'static Key> + Clone {
    settings().chain(JOB_KEYS).chain(HOOK_KEYS)
}

/// The keys that stand once, in a section of their own: those of neither jobs nor hooks.
pub(super) fn settings() -> impl Iterator<Item = &'static Key> + Clone {
    KEYS.iter().chain(DAEMON_KEYS)
}

/// The keys of `[api]` and `[schedule]`, which everybody uses who asks the API.
const KEYS: &[Key] = &[
    Key {
        section: "api",
        name: "base_url",
        kind: ValueKind::BaseUrl {
            set: |d, url| d.base_url = Some(url),
        },
        preset: KeyDefault::Value("https://api.multiplay.co.uk"),
        flag: Some("--base-url"),
        variable: Some("FORGEWATCH_BASE_URL"),
        doc: "Where the API is: https, or http to a loopback address. A path in front of the API's own is kept.",
    },
    Key {
        section: "api",
        name: "account_service_id",
        kind: ValueKind::Count {
            min: 1,
            max: u64::MAX,
            set: |d, n| d.account_service_id = n,
        },
        preset: KeyDefault::Required { example: "5678" },
        flag: Some("--account-service-id"),
        variable: Some("FORGEWATCH_ACCOUNT_SERVICE_ID"),
        doc: "The account service the jobs belong to.",
    },
    Key {
        section: "api",
        name: "credentials_file",
        kind: ValueKind::File {
            set: |d, path| d.credentials_file = Some(path),
        },
        preset: KeyDefault::Unset {
            example: "/etc/forgewatch/credentials",
            meaning: "the credentials of the environment or of systemd",
        },
        flag: Some("--credentials-file"),
        variable: Some("FORGEWATCH_CREDENTIALS_FILE"),
        doc: "A file with one line ACCESS:SECRET, readable by its owner alone.",
    },
    Key {
        section: "api",
        name: "ca_file",
        kind: ValueKind::File {
            set: |d, path| d.ca_file = Some(path),
        },
        preset: KeyDefault::Unset {
            example: "/etc/ssl/studio-ca.pem",
            meaning: "the system's alone",
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
        preset: KeyDefault::Value("5s"),
        flag: None,
        variable: None,
        doc: "The most that name lookup, connection and TLS handshake may take together.",
    },
    Key {
        section: "api",
        name: "timeout",
        kind: ValueKind::Duration {
            min: SHORTEST,
            max: HOUR,
            set: |d, t| d.timeout = t,
        },
        preset: KeyDefault::Value("30s"),
        flag: None,
        variable: None,
        doc: "The most the first MiB of an answer may take; beyond it 64 KiB/s over any 10 s are enough.",
    },
    Key {
        section: "api",
        name: "max_in_flight",
        kind: ValueKind::Count {
            min: 1,
            max: 10_000,
            set: |d, n| d.max_in_flight = n as usize,
        },
        preset: KeyDefault::Value("32"),
        flag: None,
        variable: None,
        doc: "The most requests under way at once.",
    },
    Key {
        section: "api",
        name: "max_requests_per_second",
        kind: ValueKind::Rate {
            min: 0.001,
            max: 100_000.0,
            set: |d, rate| d.max_requests_per_second = rate,
        },
        preset: KeyDefault::Value("20"),
        flag: None,
        variable: None,
        doc: "The most requests begun in a second, on average; 20 serve about 2,000 jobs.",
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
        preset: KeyDefault::Value("flag"),
        flag: Some("--jobfailed"),
        variable: None,
        doc: "What `jobfailed` in an answer means: the job failed, or how often it failed and was tried again.",
    },
    Key {
        section: "api",
        name: "diff_info",
        kind: ValueKind::Switch {
            set: |d, on| d.diff_info = on,
        },
        preset: KeyDefault::Value("true"),
        flag: None,
        variable: None,
        doc: "Ask once for the names of a diff's game, image and machine.",
    },
    Key {
        section: "api",
        name: "max_body",
        kind: ValueKind::Size {
            min: 1 << 10,
            max: 1 << 40,
            set: |d, bytes| d.max_body = bytes,
        },
        preset: KeyDefault::Value("1GiB"),
        flag: None,
        variable: None,
        doc: "The most that is read of one answer, after decompression; it is never held whole.",
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
        preset: KeyDefault::Value("inspection"),
        flag: Some("--policy"),
        variable: None,
        doc: "How the moment of the next request is chosen; exponential is x1.5 from min_interval to 30 s.",
    },
    Key {
        section: "schedule",
        name: "request_cost",
        kind: ValueKind::Duration {
            min: MILLISECOND,
            max: HOUR,
            set: |d, t| d.request_cost = t,
        },
        preset: KeyDefault::Value("1s"),
        flag: Some("--request-cost"),
        variable: None,
        doc: "How long a delay in seeing the end one request is worth.",
    },
    Key {
        section: "schedule",
        name: "min_interval",
        kind: ValueKind::Duration {
            min: SHORTEST,
            max: HOUR,
            set: |d, t| d.min_interval = t,
        },
        preset: KeyDefault::Value("1s"),
        flag: Some("--min-interval"),
        variable: None,
        doc: "Never ask for a job sooner than this after an answer.",
    },
    Key {
        section: "schedule",
        name: "max_interval",
        kind: ValueKind::Duration {
            min: SHORTEST,
            max: DAY,
            set: |d, t| d.max_interval = t,
        },
        preset: KeyDefault::Value("10m"),
        flag: Some("--max-interval"),
        variable: None,
        doc: "Never ask for a job later than this after an answer.",
    },
    Key {
        section: "schedule",
        name: "progress_step",
        kind: ValueKind::Count {
            min: 1,
            max: 100,
            set: |d, n| d.progress_step = n as u8,
        },
        preset: KeyDefault::Value("10"),
        flag: None,
        variable: None,
        doc: "Tell of progress at every multiple of this many percent.",
    },
    Key {
        section: "schedule",
        name: "stalled_after",
        kind: ValueKind::Duration {
            min: SHORTEST,
            max: YEAR,
            set: |d, t| d.stalled_after = t,
        },
        preset: KeyDefault::Value("30m"),
        flag: None,
        variable: None,
        doc: "Call a job stalled after this long without a move.",
    },
    Key {
        section: "schedule",
        name: "unreachable_after",
        kind: ValueKind::Duration {
            min: SHORTEST,
            max: YEAR,
            set: |d, t| d.unreachable_after = t,
        },
        preset: KeyDefault::Value("2m"),
        flag: None,
        variable: None,
        doc: "Call a job unreachable after this long of failed asking.",
    },
    Key {
        section: "schedule",
        name: "not_found_grace",
        kind: ValueKind::Duration {
            min: Duration::ZERO,
            max: DAY,
            set: |d, t| d.not_found_grace = t,
        },
        preset: KeyDefault::Value("60s"),
        flag: Some("--not-found-grace"),
        variable: None,
        doc: "How long a job may be not found before that is its end: one just created may not be there yet.",
    },
    Key {
        section: "schedule",
        name: "give_up_after",
        kind: ValueKind::DurationOrNever {
            min: SHORTEST,
            max: YEAR,
            set: |d, t| d.give_up_after = t,
        },
        preset: KeyDefault::Unset {
            example: "10m",
            meaning: "10m with --until-done, else never",
        },
        flag: Some("--give-up-after"),
        variable: None,
        doc: "How long asking may fail before that is a job's end, or never.",
    },
];

/// The durations of a one-shot's flags, which no file has: shortest and longest.
pub(super) const ONE_SHOT_SPAN: (Duration, Duration) = (MILLISECOND, YEAR);
/// How often `text` says that it is still there.
pub(super) const HEARTBEAT: Duration = MINUTE;

/// The sections with keys of ours.
pub(super) const SECTIONS: [&str; 6] = ["api", "schedule", "state", "control", "jobs", "hooks"];
/// Those of them that are the daemon's alone.
pub(super) const DAEMONS: [&str; 2] = ["state", "control"];
/// The sections whose feature is not there yet.
pub(super) const LATER: [&str; 1] = ["http"];

impl Key {
    /// `section.name`, as messages call it.
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// Something that could be written, without quotes.
    pub(super) fn example(&self) -> &'static str {
        match self.preset {
            KeyDefault::Value(text)
            | KeyDefault::Unset { example: text, .. }
            | KeyDefault::Required { example: text } => text,
        }
    }

    /// The key of `section` called `name`.
    pub(super) fn find(section: &str, name: &str) -> Option<&'static Self> {
        all().find(|key| key.section == section && key.name == name)
    }
}
