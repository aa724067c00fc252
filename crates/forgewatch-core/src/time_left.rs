//! The time left of a job in the words that people see.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::schedule::EstimateRange;
use crate::time::{millis, rough};

/// What is known about the time left: the server's ETA and the estimate are different things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeLeft {
    /// Seconds until the server's ETA; negative after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// The estimate: about one job in ten ends sooner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate_low_ms: Option<u64>,
    /// The estimate: about one job in ten ends later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate_high_ms: Option<u64>,
}

impl TimeLeft {
    /// An ETA in so many seconds, and an estimate.
    pub fn new(eta_seconds: Option<i64>, estimate: Option<EstimateRange>) -> Self {
        Self {
            eta_seconds,
            estimate_low_ms: estimate.map(|range| millis(range.low)),
            estimate_high_ms: estimate.map(|range| millis(range.high)),
        }
    }

    /// The same job, `passed` later and still running.
    #[must_use]
    pub fn after(self, passed: Duration) -> Self {
        let ms = millis(passed);
        Self {
            eta_seconds: (self.eta_seconds)
                .map(|eta| eta.saturating_sub_unsigned(passed.as_secs())),
            estimate_low_ms: self.estimate_low_ms.map(|low| low.saturating_sub(ms)),
            estimate_high_ms: self.estimate_high_ms.map(|high| high.saturating_sub(ms)),
        }
    }

    fn estimate(&self) -> Option<EstimateRange> {
        let estimate = self.estimate_low_ms.zip(self.estimate_high_ms);
        estimate.map(|(low, high)| EstimateRange {
            low: Duration::from_millis(low),
            high: Duration::from_millis(high),
        })
    }

    /// `ETA 59m` while the ETA stands, otherwise the estimate, `~4-12m left`; None if nothing is known.
    pub fn text(&self) -> Option<String> {
        match (self.eta(), self.estimate()) {
            (Some(eta), _) => Some(format!("ETA {}", rough(millis(eta)))),
            (None, Some(range)) => Some(format!("{} left", range_text(range))),
            (None, None) if self.eta_seconds == Some(0) => Some("due now".to_owned()),
            (None, None) => {
                let late = Duration::from_secs(self.eta_seconds?.unsigned_abs());
                Some(format!("{} past its ETA", rough(millis(late))))
            }
        }
    }

    /// The same in at most eleven columns: `ETA 2h 10m`, `~4-12m`.
    pub fn short_text(&self) -> Option<String> {
        match (self.eta(), self.estimate()) {
            (Some(eta), _) => Some(format!("ETA {}", rough(millis(eta)))),
            (None, range) => range.map(range_text),
        }
    }

    /// The time until the ETA, while that lies ahead and within the estimate.
    fn eta(&self) -> Option<Duration> {
        /// ETAs are whole seconds or minutes, so they may lie this share before the range, or 2 s.
        const SLACK: f64 = 0.2;
        let eta = Duration::from_secs(self.eta_seconds.and_then(|s| u64::try_from(s).ok())?);
        let stands = self.estimate().is_none_or(|range| {
            let slack = range.low.mul_f64(SLACK).max(Duration::from_secs(2));
            eta + slack >= range.low && eta <= range.high + slack
        });
        (stands && !eta.is_zero()).then_some(eta)
    }

    /// The progress in percent that a job may have reached `since` its last status, which reported so much. At most 99.
    pub fn estimated_progress(&self, reported: f32, since: Duration) -> f32 {
        let left = match (self.eta(), self.estimate()) {
            (Some(eta), _) => eta.as_secs_f32(),
            (None, Some(range)) => (range.low.as_secs_f32() * range.high.as_secs_f32()).sqrt(),
            (None, None) => return reported,
        };
        let since = since.as_secs_f32();
        let done = (100.0 - reported) * since / (since + left).max(1e-3);
        (reported + done).min(99.0).max(reported)
    }

    /// The time until the last of these jobs ends, such as `about 4-6m left`; None without jobs.
    pub fn of_last(jobs: &[Self]) -> Option<String> {
        let bounds = jobs
            .iter()
            .filter_map(|job| match (job.eta(), job.estimate()) {
                (Some(eta), _) => Some((eta, eta)),
                (None, Some(range)) => Some((range.low, range.high)),
                (None, None) => None,
            });
        let (low, high) = bounds.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))?;
        if low == high {
            return Some(format!("about {} left", rough(millis(high))));
        }
        let text = range_text(EstimateRange { low, high });
        Some(match text.strip_prefix('<') {
            Some(high) => format!("less than {high} left"),
            None => format!("about {} left", text.trim_start_matches('~')),
        })
    }

    /// For sorting: the end of the range, or the ETA.
    pub fn latest(&self) -> Option<Duration> {
        let eta = self
            .eta_seconds
            .map(|s| Duration::from_secs(s.max(0).unsigned_abs()));
        self.estimate().map(|range| range.high).or(eta)
    }
}

/// `~20-45s`, `~4-12m`, `~50s-4m`, `~1.5-3h`, `<2s`: rounded outward.
fn range_text(range: EstimateRange) -> String {
    const UNITS: [(f64, &str); 4] = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "m"), (1.0, "s")];
    /// A value below this many units is shown in the next smaller unit.
    const LEAST: f64 = 1.5;
    let number = |seconds: f64, (unit, _): (f64, &str), round: fn(f64) -> f64| {
        // A few hours or days have tenths, a few minutes halves.
        let scale = match seconds / unit {
            few if unit > 60.0 && few < 10.0 => 10.0,
            few if unit > 1.0 && few < 5.0 => 2.0,
            _ => 1.0,
        };
        round(seconds / unit * scale) / scale
    };
    let (low, high) = (range.low.as_secs_f64(), range.high.as_secs_f64());
    let unit_of = |seconds: f64| {
        let fits = UNITS.into_iter().find(|(unit, _)| seconds >= LEAST * unit);
        fits.unwrap_or((1.0, "s"))
    };
    let (unit, low_unit) = (unit_of(high), unit_of(low));
    let high = number(high, unit, f64::ceil);
    if low < 1.0 {
        return format!("<{high}{}", unit.1);
    }
    let low = number(low, low_unit, f64::floor);
    match (low_unit.1 == unit.1, low.total_cmp(&high).is_ge()) {
        (true, true) => format!("~{high}{}", unit.1),
        (true, false) => format!("~{low}-{high}{}", unit.1),
        (false, _) => format!("~{low}{}-{high}{}", low_unit.1, unit.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(eta_seconds: Option<i64>, range: Option<(u64, u64)>) -> TimeLeft {
        let estimate = range.map(|(low, high)| EstimateRange {
            low: Duration::from_secs(low),
            high: Duration::from_secs(high),
        });
        TimeLeft::new(eta_seconds, estimate)
    }

    #[test]
    fn an_eta_is_shown_while_it_lies_within_the_estimate() {
        for (eta, range, want) in [
            (Some(3_540), None, Some("ETA 59m")),
            (Some(3_599), Some((1_800, 4_000)), Some("ETA 59m")),
            (Some(42), Some((30, 60)), Some("ETA 42s")),
            (Some(483), Some((400, 500)), Some("ETA 8m 3s")),
            (Some(8_000), Some((7_000, 9_000)), Some("ETA 2h 13m")),
            // Rounded down to a whole minute.
            (Some(60), Some((66, 120)), Some("ETA 1m")),
            (Some(3_540), Some((240, 720)), Some("~4-12m left")),
            (Some(60), Some((240, 720)), Some("~4-12m left")),
            (Some(-5), Some((20, 45)), Some("~20-45s left")),
            (None, Some((20, 45)), Some("~20-45s left")),
            (Some(-90), None, Some("1m 30s past its ETA")),
            (Some(0), None, Some("due now")),
            (None, None, None),
        ] {
            assert_eq!(of(eta, range).text().as_deref(), want, "{eta:?} {range:?}");
        }
    }

    #[test]
    fn the_estimated_progress_moves_from_the_reported_one_towards_the_end() {
        let left = of(None, Some((50, 50)));
        let at = |since| left.estimated_progress(50.0, Duration::from_secs(since));
        assert!((at(0) - 50.0).abs() < 0.1);
        assert!((at(50) - 75.0).abs() < 0.1);
        let late = of(None, Some((0, 0))).estimated_progress(50.0, Duration::from_hours(1));
        assert!((late - 99.0).abs() < 0.1);
        let unknown = TimeLeft::default().estimated_progress(50.0, Duration::from_hours(1));
        assert!((unknown - 50.0).abs() < f32::EPSILON);
    }

    #[test]
    fn the_last_of_several_jobs_ends_when_the_latest_does() {
        let jobs = [
            of(None, Some((60, 360))),
            of(Some(240), Some((200, 300))),
            of(None, Some((20, 30))),
        ];
        assert_eq!(TimeLeft::of_last(&jobs).as_deref(), Some("about 4-6m left"));
        let exact = [of(Some(240), None)];
        assert_eq!(TimeLeft::of_last(&exact).as_deref(), Some("about 4m left"));
        let soon = [of(None, Some((0, 2)))];
        assert_eq!(
            TimeLeft::of_last(&soon).as_deref(),
            Some("less than 2s left")
        );
        assert_eq!(TimeLeft::of_last(&[]), None);
    }

    #[test]
    fn ranges_are_rounded_outward() {
        let text = |low_ms: u64, high_ms: u64| {
            range_text(EstimateRange {
                low: Duration::from_millis(low_ms),
                high: Duration::from_millis(high_ms),
            })
        };
        let minutes = |low: u64, high: u64| text(low * 60_000, high * 60_000);
        for (shown, want) in [
            (text(0, 900), "<1s"),
            (text(3_200, 3_400), "~3-4s"),
            (text(4_000, 4_000), "~4s"),
            (text(20_900, 44_100), "~20-45s"),
            (text(50_000, 220_000), "~50s-4m"),
            (text(500, 130_000), "<2.5m"),
            (minutes(4, 12), "~4-12m"),
            (text(241_000, 719_000), "~4-12m"),
            (minutes(60, 85), "~60-85m"),
            (minutes(93, 178), "~1.5-3h"),
            (minutes(20, 178), "~20m-3h"),
            (minutes(60 * 11, 60 * 13), "~11-13h"),
            (minutes(60 * 47, 60 * 99), "~1.9-4.2d"),
        ] {
            assert_eq!(shown, want);
        }
    }
}
