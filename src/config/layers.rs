//! Merges the layers of the configuration: defaults, file, environment, flags. A later layer overrides an earlier one.

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
use forgewatch_core::schedule::{Policy, ScheduleSettings};

/// What the configuration is for; some defaults and sections depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunMode {
    /// `watch --until-done`.
    OneShot,
    Daemon,
}

/// The values of all keys so far, and where each one was set.
#[derive(Debug)]
pub(super) struct Values {
    mode: RunMode,
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
    /// In the order of [`keys::settings`]; None for keys that no layer has set.
    provenance: Vec<Option<Provenance>>,
}

/// Where a key was last set, and whether that value was valid.
#[derive(Clone, Debug)]
struct Provenance {
    origin: Origin,
    is_valid: bool,
}

/// A one-shot's default of `schedule.give_up_after`.
const ONE_SHOT_GIVE_UP_AFTER: Duration = Duration::from_mins(10);

impl Values {
    pub(super) fn with_defaults(mode: RunMode, errors: &mut Vec<ConfigError>) -> Self {
        let mut values = Self::blank(mode);
        for key in keys::settings() {
            if let KeyDefault::Value(text) = key.default {
                values.set(key, text, &Origin::Default, errors);
            }
        }
        values
    }

    /// Placeholders, which the defaults of the table overwrite.
    fn blank(mode: RunMode) -> Self {
        Self {
            mode,
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
            give_up_after: (mode == RunMode::OneShot).then_some(ONE_SHOT_GIVE_UP_AFTER),
            state: PathBuf::new(),
            retain: Duration::ZERO,
            socket: PathBuf::new(),
            group: String::new(),
            stop_grace: Duration::ZERO,
            provenance: vec![None; keys::settings().count()],
        }
    }

    /// Sets a key to the text of a flag, a variable or a default.
    pub(super) fn set(
        &mut self,
        key: &'static Key,
        text: &str,
        origin: &Origin,
        errors: &mut Vec<ConfigError>,
    ) {
        let result = value::text(key, text, self);
        self.record(key, origin, result.is_ok());
        if let Err(what) = result {
            errors.push(ConfigError::new(origin.clone(), what));
        }
    }

    /// Records where `key` was set. Invalid values count: a key with one is not missing.
    pub(super) fn record(&mut self, key: &Key, origin: &Origin, is_valid: bool) {
        let slots = keys::settings().zip(&mut self.provenance);
        for (_, slot) in slots.filter(|(k, _)| k.section == key.section && k.name == key.name) {
            *slot = Some(Provenance {
                origin: origin.clone(),
                is_valid,
            });
        }
    }

    fn provenance(&self, section: &str, name: &str) -> Option<&Provenance> {
        let mut slots = keys::settings().zip(&self.provenance);
        let (_, slot) = slots.find(|(key, _)| key.section == section && key.name == name)?;
        slot.as_ref()
    }

    /// Whether the value in use is valid: the last one that was set, or the default.
    pub(super) fn is_valid(&self, section: &str, name: &str) -> bool {
        self.provenance(section, name).is_none_or(|p| p.is_valid)
    }

    /// Reports required keys that were not set.
    pub(super) fn check_required(&self, errors: &mut Vec<ConfigError>) {
        for key in keys::settings().filter(|key| matches!(key.default, KeyDefault::Required { .. }))
        {
            if self.provenance(key.section, key.name).is_none() {
                errors.push(ConfigError::new(Origin::Unspecified, missing(key)));
            }
        }
    }

    /// Reports values that are valid on their own but contradict each other.
    pub(super) fn cross_check(&self, errors: &mut Vec<ConfigError>) {
        const BOTH: [&str; 2] = ["min_interval", "max_interval"];
        let are_valid = BOTH.iter().all(|name| self.is_valid("schedule", name));
        if are_valid && self.min_interval > self.max_interval {
            let (min, max) = (
                humantime::format_duration(self.min_interval),
                humantime::format_duration(self.max_interval),
            );
            let what = format!(
                "schedule.min_interval ({min}) is longer than schedule.max_interval ({max}); shorten the first or \
                 lengthen the second"
            );
            let origin = BOTH
                .iter()
                .filter_map(|name| Some(&self.provenance("schedule", name)?.origin))
                .find(|origin| **origin != Origin::Default);
            errors.push(ConfigError::new(
                origin.cloned().unwrap_or(Origin::Unspecified),
                what,
            ));
        }
    }

    /// None without a base URL, which has been reported already.
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
                schedule: ScheduleSettings {
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
                refusal_ends: self.mode == RunMode::OneShot,
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
    let flag = key.flag.map(|flag| format!("use {flag}, "));
    let variable = key.variable.map(|variable| format!("set {variable}, or "));
    let overrides: String = flag.into_iter().chain(variable).collect();
    format!(
        "{} is not set; {overrides}write `{} = {}` under [{}] in the configuration file",
        key.path(),
        key.name,
        key.example(),
        key.section
    )
}
