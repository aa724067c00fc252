//! Models of the ETA that a server reports, and of its error.
//!
//! Times are seconds of the script since the job appeared, `0 <= t < end`.

use forgewatch_core::rng::SeededRng;
use serde::Deserialize;

/// Time constant of the noise of [`EtaModel::Noisy`], in seconds: responses closer together have similar errors.
const NOISE_DECAY: f64 = 60.0;

/// The names of the models in a script; [`EtaModel`] adds the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EtaKey {
    #[default]
    Exact,
    Noisy,
    Fixed,
    Optimistic,
    Extrapolated,
    ProgressOnly,
    Hidden,
}

/// How reported ETAs deviate from the true end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EtaModel {
    Exact,
    /// The remaining time times a factor: log-normal with deviation `spread`, correlated in time.
    Noisy {
        spread: f64,
    },
    /// `bias` times the true duration, never corrected.
    Fixed {
        bias: f64,
    },
    /// Always too early: `fraction` of the remaining time.
    Optimistic {
        fraction: f64,
    },
    /// Extrapolated from the progress so far, at a constant rate.
    Extrapolated,
    /// Progress, but no ETA.
    ProgressOnly,
    /// Neither progress nor ETA.
    Hidden,
}

/// The reported ETAs of one job: its model, and the noise kept between responses.
#[derive(Clone, Debug)]
pub(crate) struct EtaPredictor {
    eta: EtaModel,
    rng: SeededRng,
    /// Time and value of the last draw.
    noise: Option<(f64, f64)>,
}

impl EtaPredictor {
    pub(crate) fn new(eta: EtaModel, rng: SeededRng) -> Self {
        Self {
            eta,
            rng,
            noise: None,
        }
    }

    /// The ETA reported at `t` for a job that left the queue at `queued` and ends at `end`, if the model reports one.
    pub(crate) fn predict(&mut self, t: f64, queued: f64, end: f64, progress: u8) -> Option<f64> {
        match self.eta {
            EtaModel::Exact => Some(end),
            EtaModel::Noisy { spread } => Some(t + (end - t) * self.next_noise(t, spread).exp()),
            EtaModel::Fixed { bias } => Some(end * bias),
            EtaModel::Optimistic { fraction } => Some(t + fraction * (end - t)),
            EtaModel::Extrapolated => (progress > 0).then(|| {
                let done = f64::from(progress);
                t + (t - queued).max(0.0) * (100.0 - done) / done
            }),
            EtaModel::ProgressOnly | EtaModel::Hidden => None,
        }
    }

    pub(crate) fn reports_progress(&self) -> bool {
        self.eta != EtaModel::Hidden
    }

    /// The next value of an Ornstein-Uhlenbeck process: the noise depends on time, not on the number of requests.
    fn next_noise(&mut self, t: f64, spread: f64) -> f64 {
        let innovation = self.rng.normal(0.0, spread);
        let x = match self.noise {
            None => innovation,
            Some((before, x)) => {
                let kept = (-(t - before).max(0.0) / NOISE_DECAY).exp();
                kept * x + (1.0 - kept * kept).sqrt() * innovation
            }
        };
        self.noise = Some((t, x));
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reported ETAs, every 10 s, of a job of 100 s with 10 s in the queue.
    fn reported(eta: EtaModel) -> Vec<Option<f64>> {
        let mut predictor = EtaPredictor::new(eta, SeededRng::named(1, "diff/1"));
        (0..10)
            .map(|step| {
                let t = 10.0 * f64::from(step);
                let progress = ((t - 10.0).max(0.0) / 0.9) as u8;
                predictor.predict(t, 10.0, 100.0, progress).map(f64::round)
            })
            .collect()
    }

    #[test]
    fn exact_reports_the_true_end_and_fixed_one_wrong_end() {
        assert!(
            reported(EtaModel::Exact)
                .iter()
                .all(|eta| *eta == Some(100.0))
        );
        assert!(
            reported(EtaModel::Fixed { bias: 1.7 })
                .iter()
                .all(|eta| *eta == Some(170.0))
        );
    }

    #[test]
    fn optimistic_reports_a_fraction_of_the_remaining_time() {
        let etas = reported(EtaModel::Optimistic { fraction: 0.5 });
        assert_eq!(etas[0], Some(50.0));
        assert_eq!(etas[6], Some(80.0));
        assert_eq!(etas[9], Some(95.0));
    }

    #[test]
    fn extrapolated_needs_progress_and_is_right_when_progress_is_steady() {
        let etas = reported(EtaModel::Extrapolated);
        assert_eq!(etas[1], None);
        assert!(
            etas[2..]
                .iter()
                .flatten()
                .all(|eta| (eta - 100.0).abs() < 3.0),
            "{etas:?}"
        );
        assert_eq!(etas[2..].iter().flatten().count(), 8);
    }

    #[test]
    fn noisy_etas_vary_and_are_never_in_the_past() {
        let etas = reported(EtaModel::Noisy { spread: 0.4 });
        assert!(etas.windows(2).any(|pair| pair[0] != pair[1]));
        for (step, eta) in etas.into_iter().enumerate() {
            assert!(eta.unwrap() >= 10.0 * step as f64);
        }
    }

    #[test]
    fn noise_is_correlated_in_time() {
        let mut predictor = EtaPredictor::new(
            EtaModel::Noisy { spread: 0.4 },
            SeededRng::named(1, "diff/1"),
        );
        let first = predictor.predict(10.0, 0.0, 100.0, 1).unwrap();
        let second = predictor.predict(10.001, 0.0, 100.0, 1).unwrap();
        let later = predictor.predict(500.0, 0.0, 1000.0, 1).unwrap();
        assert!((first - second).abs() < 1.0, "{first} {second}");
        assert!((later - 1000.0).abs() > 1.0, "{later}");
    }

    #[test]
    fn progress_only_and_hidden_report_no_eta_and_hidden_no_progress() {
        assert!(reported(EtaModel::ProgressOnly).iter().all(Option::is_none));
        assert!(reported(EtaModel::Hidden).iter().all(Option::is_none));
        let tells = |eta| EtaPredictor::new(eta, SeededRng::named(1, "x")).reports_progress();
        assert!(tells(EtaModel::ProgressOnly));
        assert!(!tells(EtaModel::Hidden));
    }
}
