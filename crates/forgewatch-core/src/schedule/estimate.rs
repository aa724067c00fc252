//! The time left for people: a range that holds the truth four times in five.
//!
//! The range goes from one quantile of the forecast to another. If the errors of a server are as the forecast models them,
//! these are about the 10 % and the 90 % quantile. Which quantiles hold the truth on a given server is learned per kind of
//! job (I. Gibbs and E. Candès, "Adaptive conformal inference under distribution shift", 2021).

use std::time::Duration;

use super::coverage::Misses;
use super::forecast::{Forecast, forecast};
use super::inspection::OUTLIER_SIGMA;
use super::{History, KindCalibration, seconds};

/// Seconds by which the range is widened on both sides: responses take time.
const MARGIN: f32 = 0.2;

/// The estimated time left, as a range that holds the truth in 80 % of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EstimateRange {
    /// About one job in ten ends sooner.
    pub low: Duration,
    /// About one job in ten ends later.
    pub high: Duration,
}

impl History {
    /// The estimate of the time left at `up_ms`, which is not before the latest observation. None without any
    /// information.
    pub fn estimate(&self, calibration: &KindCalibration, up_ms: u64) -> Option<EstimateRange> {
        if self.is_empty() {
            return None;
        }
        let (forecast, _) = forecast(self, calibration, Some(calibration.first_eta_met()));
        let since = self.seconds_at(up_ms) - self.latest().at;
        // A forecast that is disproved by now says nothing about the rest.
        let ended = forecast.ends_within(since).filter(|&ended| ended < 0.999)?;
        // The job is assumed to be still running.
        let left = |level: f32| forecast.quantile(ended + level * (1.0 - ended)) - since;
        let levels = calibration.levels();
        Some(EstimateRange {
            low: seconds(left(levels.low) - MARGIN),
            high: seconds(left(levels.high) + MARGIN),
        })
    }

    /// How often the range missed the end of a job, which was seen after `seen` seconds. The job ended at an unknown time
    /// since the latest sample; by the forecast, each part of that time is equally probable.
    pub(super) fn misses(&self, calibration: &KindCalibration, seen: f32) -> Option<Misses> {
        let levels = calibration.levels();
        let (mut samples, mut before, mut after) = (0.0, 0.0, 0.0);
        let (mut estimated, mut outliers) = (0.0, 0.0);
        for then in self.prefixes() {
            let (forecast, _) = forecast(&then, calibration, Some(calibration.first_eta_met()));
            let left = |at: f32| at - then.latest().at;
            if let Some(outlier) = forecast.outlier_if_ended(left(self.latest().at), left(seen)) {
                estimated += 1.0;
                outliers += outlier;
            }
            let ended_by = |at: f32| forecast.ends_within(at - then.latest().at);
            let (Some(from), Some(to)) = (ended_by(self.latest().at), ended_by(seen)) else {
                continue;
            };
            let share_below = |level: f32| ((level - from) / (to - from).max(1e-6)).clamp(0.0, 1.0);
            samples += 1.0;
            before += share_below(levels.low);
            after += 1.0 - share_below(levels.high);
        }
        (samples > 0.0).then(|| Misses {
            before: before / samples,
            after: after / samples,
            polls: f32::from(self.observations),
            outliers: (estimated > 0.0).then(|| outliers / estimated),
        })
    }
}

impl Forecast {
    /// The probability that the job ends within this many seconds; None without any information.
    fn ends_within(&self, left: f32) -> Option<f32> {
        match self {
            Self::Unknown { .. } => None,
            Self::Lifetime { lifetime, age } => {
                let (now, then) = (lifetime.odds(*age), lifetime.odds(age + left));
                Some((1.0 - (1.0 + now) / (1.0 + then)).clamp(0.0, 1.0))
            }
            Self::Estimated {
                mu, sigma, window, ..
            } => {
                let step = (window[1].0 - window[0].0).max(1e-3);
                let met: f32 = window.iter().map(|&(_, weight)| weight).sum();
                let not_met = (1.0 - met) * normal((left.max(1e-3).ln() - mu) / sigma);
                // Each point of the window stands for the time around it.
                let within = window
                    .iter()
                    .map(|&(point, weight)| weight * ((left - point) / step + 0.5).clamp(0.0, 1.0));
                Some(not_met + within.sum::<f32>())
            }
        }
    }

    /// The probability that the lognormal is far off, if the job ended between these seconds.
    pub(super) fn outlier_if_ended(&self, from: f32, to: f32) -> Option<f32> {
        let Self::Estimated {
            mu, sigma, outlier, ..
        } = *self
        else {
            return None;
        };
        let within = |sigma: f32| {
            let below = |left: f32| normal((left.max(0.1).ln() - mu) / sigma);
            (below(to) - below(from)).max(1e-6)
        };
        let (far, near) = (
            outlier * within(sigma.max(OUTLIER_SIGMA)),
            (1.0 - outlier) * within(sigma),
        );
        Some(far / (far + near))
    }

    /// The seconds within which the job ends with this probability.
    fn quantile(&self, probability: f32) -> f32 {
        // The logarithms of 50 ms and of 100 days, halved to a thousandth.
        let (mut low, mut high) = (-3.0f32, 16.0f32);
        for _ in 0..14 {
            let middle = 0.5 * (low + high);
            if self.ends_within(middle.exp()).unwrap_or(1.0) < probability {
                low = middle;
            } else {
                high = middle;
            }
        }
        (0.5 * (low + high)).exp()
    }
}

/// The cumulative distribution function of the standard normal distribution, to 3e-4 (M. Abramowitz and I. Stegun,
/// "Handbook of Mathematical Functions", 26.2.18).
fn normal(z: f32) -> f32 {
    const C: [f32; 4] = [0.196_854, 0.115_194, 0.000_344, 0.019_527];
    let x = z.abs();
    let sum = 1.0 + x * (C[0] + x * (C[1] + x * (C[2] + x * C[3])));
    let above = 0.5 / sum.powi(4);
    if z < 0.0 { above } else { 1.0 - above }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::settings;
    use crate::schedule::{Observation, Policy};

    /// A job after polls at these seconds, with this ETA in seconds after the first.
    fn history(polls: &[u64], eta: i64, calibration: &KindCalibration) -> History {
        let settings = settings(Policy::Inspection);
        let mut history = History::default();
        for &at in polls {
            let observation = Observation {
                up_ms: at * 1_000,
                server_now_ms: Some(at as i64 * 1_000),
                eta: Some(eta),
                ..Observation::default()
            };
            history = history.observe(&observation, calibration, &settings).0;
        }
        history
    }

    #[test]
    fn the_range_around_an_eta_that_jobs_meet_gets_narrow() {
        let mut calibration = KindCalibration::default();
        let first = history(&[0], 601, &calibration).estimate(&calibration, 0);
        let width = |range: Option<EstimateRange>| {
            let range = range.unwrap();
            range.high.as_secs_f64() / range.low.as_secs_f64()
        };
        assert!(width(first) > 2.0, "{first:?}");
        for _ in 0..30 {
            let ended = history(&[0, 200, 500, 590], 601, &calibration);
            let update = ended.calibration_update(602_000, &calibration);
            calibration.update_with(None, &update);
        }
        let learned = history(&[0], 601, &calibration).estimate(&calibration, 0);
        assert!(width(learned) < 1.05, "{learned:?}");
        let range = learned.unwrap();
        let eta = Duration::from_secs(601);
        assert!(range.low <= eta && eta <= range.high, "{range:?}");
    }

    #[test]
    fn an_end_far_from_the_forecast_is_an_outlier_and_one_near_it_is_none() {
        let forecast = Forecast::Estimated {
            mu: 100f32.ln(),
            sigma: 0.1,
            outlier: 0.01,
            window: Default::default(),
        };
        let outlier = |from, to| forecast.outlier_if_ended(from, to).unwrap();
        assert!(outlier(95.0, 105.0) < 0.005);
        assert!(outlier(20.0, 30.0) > 0.9);
        // An end at any time says nothing.
        assert!((outlier(0.0, 1e6) - 0.01).abs() < 1e-3);
        assert_eq!(
            Forecast::Unknown { age: 0.0 }.outlier_if_ended(1.0, 2.0),
            None
        );
    }

    #[test]
    fn the_range_follows_the_time_between_two_polls_and_stays_ahead() {
        let calibration = KindCalibration::default();
        let polled = history(&[0, 60], 300, &calibration);
        let at = |seconds: u64| polled.estimate(&calibration, seconds * 1_000).unwrap();
        assert!(at(120).high < at(60).high, "{:?} {:?}", at(60), at(120));
        for seconds in [60, 299, 301, 400, 600] {
            let range = at(seconds);
            assert!(range.low <= range.high, "{range:?}");
            assert!(range.high > Duration::ZERO, "{range:?}");
        }
        assert_eq!(polled.estimate(&calibration, 400_000_000), None);
    }

    #[test]
    fn without_any_information_there_is_no_estimate() {
        let calibration = KindCalibration::default();
        assert_eq!(History::default().estimate(&calibration, 0), None);
    }

    #[test]
    fn a_learned_range_holds_the_truth_four_times_in_five() {
        // ETAs that are off by a factor of up to two, each job by its own.
        let mut rng = crate::rng::SeededRng::new(3);
        let mut calibration = KindCalibration::default();
        let (mut held, mut all) = (0.0, 0.0);
        for job in 0..400 {
            let end = rng.between(200.0, 2_000.0);
            let eta = (end * rng.between(-0.7, 0.7).exp()) as i64;
            let polls = [0.0, 0.3, 0.6, 0.8, 0.9].map(|share| (share * end) as u64);
            for polled in 1..=polls.len() {
                let polls = &polls[..polled];
                let at = polls[polled - 1] * 1_000;
                let range = history(polls, eta, &calibration).estimate(&calibration, at);
                let left = Duration::from_secs_f64(end - at as f64 / 1e3);
                if let (Some(range), true) = (range, job >= 100) {
                    held += f64::from(u8::from(range.low <= left && left <= range.high));
                    all += 1.0;
                }
            }
            let ended = history(&polls, eta, &calibration);
            let update = ended.calibration_update((end * 1e3) as u64 + 500, &calibration);
            calibration.update_with(None, &update);
        }
        let share = held / all;
        assert!((0.75..=0.85).contains(&share), "{share}");
    }
}
