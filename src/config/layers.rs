//! The settings while they are put together: defaults first, then the file, the environment, the flags, each
//! over what was there.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::error::{ConfigError, Origin};
use super::keys::{self, Key, KeyDefault};
use super::settings::{ControlSettings, Settings, StateSettings};
use super::value;
use crate::clanforge::ApiSettings;
use crate::hooks::HookSpec;
use forgewatch_core::job::JobSpec;
use forgewatch_core::limits::{JobFailed, Limits};
use forgewatch_core::schedule::{Policy, Rules};

/// What the settings are for: a few things are not the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunMode {
    /// A watch that ends.
    OneShot,
    /// The daemon.
    Daemon,
}

/// Every value of the table of keys, and where each came from.
#[derive(Debug)]
pub(super) struct Values {
    purpose: RunMode,
    pub(super) base_url: Option<Url>,
    pub(super) account_service_id: u64,
    pub(super) credentials_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) max_in_flight: usize,
    pub(super) max_requests_per_second: f64,
    pub(super) jobfailed: JobFailed,
    pub(super) diff_info: bool,
    pub(super) max_body: u64,
    pub(super) policy: Policy,
    pub(super) request_cost: Duration,
    pub(super) min_interval: Duration,
    pub(super) max_interval: Duration,
    pub(super) progress_step: u8,
    pub(super) stalled_after: Duration,
    pub(super) unreachable_after: Duration,
    pub(super) not_found_grace: Duration,
    /// None is never.
    pub(super) give_up_after: Option<Duration>,
    pub(super) state: PathBuf,
    pub(super) retain: Duration,
    pub(super) socket: PathBuf,
    pub(super) group: String,
    pub(super) stop_grace: Duration,
    /// In the order of [`keys::settings`]: who spoke last; None where nobody did.
    spoken: Vec<Option<Provenance>>,
}

/// Who said what a key is, and whether it could be read.
#[derive(Clone, Debug)]
struct Provenance {
    origin: Origin,
    is_good: bool,
}

/// How long a one-shot's asking may fail, where nobody says.
const ONE_SHOT_GIVES_UP_AFTER: Duration = Duration::from_mins(10);

impl Values {
    /// The compiled defaults, as the table of keys says them.
    pub(super) fn with_defaults(purpose: RunMode, errors: &mut Vec<ConfigError>) -> Self {
        let mut draft = Self::blank(purpose);
        for key in keys::settings() {
            if let KeyDefault::Value(text) = key.preset {
                draft.set(key, text, &Origin::Default, errors);
            }
        }
        draft
    }

    /// Before the defaults of the table, which overwrite what is not optional here.
    fn blank(purpose: RunMode) -> Self {
        Self {
            purpose,
            base_url: None,
            account_service_id: 0,
            credentials_file: None,
            ca_file: None,
            connect_timeout: Duration::ZERO,
            timeout: Duration::ZERO,
            max_in_flight: 0,
            max_requests_per_second: 0.0,
            jobfailed: JobFailed::Flag,
            diff_info: false,
            max_body: 0,
            policy: Policy::Inspection,
            request_cost: Duration::ZERO,
            min_interval: Duration::ZERO,
            max_interval: Duration::ZERO,
            progress_step: 0,
            stalled_after: Duration::ZERO,
            unreachable_after: Duration::ZERO,
            not_found_grace: Duration::ZERO,
            give_up_after: (purpose == RunMode::OneShot).then_some(ONE_SHOT_GIVES_UP_AFTER),
            state: PathBuf::new(),
            retain: Duration::ZERO,
            socket: PathBuf::new(),
            group: String::new(),
            stop_grace: Duration::ZERO,
            spoken: vec![None; keys::settings().count()],
        }
    }

    /// Sets a key to what a flag, a variable or a default says.
    pub(super) fn set(
        &mut self,
        key: &'static Key,
        text: &str,
        origin: &Origin,
        errors: &mut Vec<ConfigError>,
    ) {
        let read = value::text(key, text, self);
        self.note(key, origin, read.is_ok());
        if let Err(what) = read {
            errors.push(ConfigError::new(origin.clone(), what));
        }
    }

    /// Notes who said what `key` is, rightly or wrongly: one that is wrong is not also missing.
    pub(super) fn note(&mut self, key: &Key, origin: &Origin, is_good: bool) {
        let slots = keys::settings().zip(&mut self.spoken);
        for (_, slot) in slots.filter(|(k, _)| k.section == key.section && k.name == key.name) {
            *slot = Some(Provenance {
                origin: origin.clone(),
                is_good,
            });
        }
    }

    fn spoken(&self, section: &str, name: &str) -> Option<&Provenance> {
        let mut slots = keys::settings().zip(&self.spoken);
        let (_, spoken) = slots.find(|(key, _)| key.section == section && key.name == name)?;
        spoken.as_ref()
    }

    /// Whether what the key is was not said wrongly: by whoever spoke last, if anybody did.
    pub(super) fn is_good(&self, section: &str, name: &str) -> bool {
        self.spoken(section, name).is_none_or(|s| s.is_good)
    }

    /// Finds the keys that nobody set and somebody has to.
    pub(super) fn find_missing(&self, errors: &mut Vec<ConfigError>) {
        for key in keys::settings().filter(|key| matches!(key.preset, KeyDefault::Required { .. }))
        {
            if self.spoken(key.section, key.name).is_none() {
                errors.push(ConfigError::new(Origin::Nowhere, missing(key)));
            }
        }
    }

    /// Finds the values that are good each for itself and contradict each other.
    pub(super) fn cross_check(&self, errors: &mut Vec<ConfigError>) {
        const BOTH: [&str; 2] = ["min_interval", "max_interval"];
        let are_good = BOTH.iter().all(|name| self.is_good("schedule", name));
        if are_good && self.min_interval > self.max_interval {
            let (min, max) = (
                humantime::format_duration(self.min_interval),
                humantime::format_duration(self.max_interval),
            );
            let what = format!(
                "schedule.min_interval ({min}) is longer than schedule.max_interval ({max}); shorten the one or \
                 lengthen the other"
            );
            let origin = BOTH
                .iter()
                .filter_map(|name| Some(&self.spoken("schedule", name)?.origin))
                .find(|origin| **origin != Origin::Default);
            errors.push(ConfigError::new(
                origin.cloned().unwrap_or(Origin::Nowhere),
                what,
            ));
        }
    }

    /// The settings. None without a base URL, which is an error already told.
    pub(super) fn into_settings(
        self,
        jobs: Vec<JobSpec>,
        hooks: Vec<HookSpec>,
    ) -> Option<Settings> {
        Some(Settings {
            api: ApiSettings {
                base_url: self.base_url?,
                account_service_id: self.account_service_id,
                ca_file: self.ca_file,
                connect_timeout: self.connect_timeout,
                timeout: self.timeout,
                max_in_flight: self.max_in_flight,
                max_requests_per_second: self.max_requests_per_second,
                max_body: self.max_body,
            },
            limits: Limits {
                schedule: Rules {
                    policy: self.policy,
                    request_cost: self.request_cost,
                    min_interval: self.min_interval,
                    max_interval: self.max_interval,
                },
                progress_step: self.progress_step,
                stalled_after: self.stalled_after,
                unreachable_after: self.unreachable_after,
                not_found_grace: self.not_found_grace,
                give_up_after: self.give_up_after,
                jobfailed: self.jobfailed,
                diff_info: self.diff_info,
                refusal_ends: self.purpose == RunMode::OneShot,
            },
            state: StateSettings {
                path: self.state,
                retain: self.retain,
            },
            control: ControlSettings {
                socket: self.socket,
                group: self.group,
                stop_grace: self.stop_grace,
            },
            jobs,
            hooks,
        })
    }
}

fn missing(key: &Key) -> String {
    let mut ways = String::new();
    for way in [key.flag, key.variable].into_iter().flatten() {
        ways.push_str(way);
        ways.push_str(" or ");
    }
    format!(
        "{} is not set; give {ways}`{} = {}` under [{}] in the configuration file",
        key.path(),
        key.name,
        key.example(),
        key.section
    )
}
