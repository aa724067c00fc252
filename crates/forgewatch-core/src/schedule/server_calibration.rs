//! The calibration of one server: what its jobs teach is used for its jobs only.

use serde::{Deserialize, Serialize};

use super::{Calibration, CalibrationUpdate};
use crate::job::JobKind;

/// The server and the account whose jobs a calibration describes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerKey {
    /// Scheme, host and port of the API.
    pub api: String,
    /// The account service.
    pub account_service_id: u64,
}

/// A calibration with the server it belongs to. Without a key it stays at its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerCalibration {
    key: Option<ServerKey>,
    calibration: Calibration,
    has_learned: bool,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct Saved<K, C> {
    #[serde(flatten)]
    key: K,
    jobs: C,
}

impl ServerCalibration {
    /// Continues from `saved`, what [`Self::to_json`] wrote. If that is missing, invalid or of another server, the
    /// calibration starts at its default.
    pub fn new(key: Option<ServerKey>, saved: Option<&str>) -> Self {
        let saved = saved.and_then(|json| serde_json::from_str(json).ok());
        let same = |saved: &Saved<ServerKey, _>| Some(&saved.key) == key.as_ref();
        let calibration = saved
            .filter(same)
            .map_or_else(Calibration::default, |saved| saved.jobs);
        Self {
            key,
            calibration,
            has_learned: false,
        }
    }

    /// Starts at the default if the server is another one.
    pub fn configure(&mut self, key: Option<ServerKey>) {
        if key != self.key {
            *self = Self::new(key, None);
        }
    }

    /// The calibration itself.
    pub fn get(&self) -> &Calibration {
        &self.calibration
    }

    /// Adds a job of this kind that ended.
    pub fn update(&mut self, kind: JobKind, image: Option<&str>, update: &CalibrationUpdate) {
        // A job that had ended before its first poll gives no samples.
        if self.key.is_some() && *update != CalibrationUpdate::default() {
            self.calibration.update(kind, image, update);
            self.has_learned = true;
        }
    }

    /// The stored form, once a job has changed it.
    pub fn to_json(&self) -> Option<String> {
        let key = self.key.as_ref().filter(|_| self.has_learned)?;
        let jobs = &self.calibration;
        serde_json::to_string(&Saved { key, jobs }).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(api: &str, account_service_id: u64) -> ServerKey {
        let api = api.to_owned();
        ServerKey {
            api,
            account_service_id,
        }
    }

    fn learned(key: impl Into<Option<ServerKey>>) -> ServerCalibration {
        let mut calibration = ServerCalibration::new(key.into(), None);
        let mut update = CalibrationUpdate::default();
        update.set_lifetime(20.0);
        calibration.update(JobKind::Diff, None, &update);
        calibration
    }

    #[test]
    fn a_calibration_is_used_for_its_own_server_and_account_only() {
        let saved = learned(key("https://a", 1)).to_json().unwrap();
        let loaded = |key| ServerCalibration::new(key, Some(&saved)).calibration;
        let own = key("https://a", 1);
        assert_eq!(loaded(Some(own.clone())), learned(own).calibration);
        for other in [
            key("https://a", 2),
            key("https://b", 1),
            key("https://a:444", 1),
        ] {
            assert_eq!(loaded(Some(other)), Calibration::default());
        }
        assert_eq!(loaded(None), Calibration::default());
    }

    #[test]
    fn a_calibration_that_is_invalid_starts_at_its_default() {
        let saved = learned(key("https://a", 1)).to_json().unwrap();
        for invalid in ["", "{", "[]", "null", &saved[..saved.len() / 2]] {
            let loaded = ServerCalibration::new(Some(key("https://a", 1)), Some(invalid));
            assert_eq!(loaded.calibration, Calibration::default(), "{invalid}");
        }
    }

    #[test]
    fn without_a_key_nothing_is_learned_and_nothing_is_saved() {
        let calibration = learned(None);
        assert_eq!(calibration, ServerCalibration::default());
        assert_eq!(calibration.to_json(), None);
    }

    #[test]
    fn another_server_starts_at_the_default_and_the_same_one_continues() {
        let mut calibration = learned(key("https://a", 1));
        calibration.configure(Some(key("https://a", 1)));
        assert!(calibration.to_json().is_some());
        let other = Some(key("https://a", 2));
        calibration.configure(other.clone());
        assert_eq!(calibration, ServerCalibration::new(other, None));
    }
}
