//! What a server says about the end of its jobs: seven ways to err.
//!
//! Every known server, and every guess at one, is near one of these. Times are in seconds of the script since
//! the job was born, `0 <= t < end`.

use serde::Deserialize;

use super::rng::Rng;

/// How fast the noise of [`Eta::Noisy`] forgets, in seconds: answers closer than this err alike.
const FORGETS_AFTER: f64 = 60.0;

/// The names of the models in a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Model {
    #[default]
    Exact,
    Noisy,
    Fixed,
    Optimistic,
    Extrapolated,
    ProgressOnly,
    Blind,
}

/// A model with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Eta {
    /// Right from the first answer on.
    Exact,
    /// Wrong by a factor that wanders: log-normal, `spread` wide, correlated in time.
    Noisy { spread: f64 },
    /// One guess, `bias` times the true duration, never corrected.
    Fixed { bias: f64 },
    /// Always too early by the same share: says that `half` of what is left were left.
    Optimistic { half: f64 },
    /// Computed from the progress so far, as if the rest went as fast.
    Extrapolated,
    /// Tells progress, no ETA.
    ProgressOnly,
    /// Tells neither.
    Blind,
}

/// One job's server: its model, and the noise it remembers between answers.
#[derive(Clone, Debug)]
pub(super) struct Guesser {
    eta: Eta,
    rng: Rng,
    /// When the noise was last drawn, and what it was.
    noise: Option<(f64, f64)>,
}

impl Guesser {
    pub(super) fn new(eta: Eta, rng: Rng) -> Self {
        Self {
            eta,
            rng,
            noise: None,
        }
    }

    /// The expected end, told at `t` about a job that left the queue at `queued` and ends at `end`; None where
    /// the server tells none.
    pub(super) fn guess(&mut self, t: f64, queued: f64, end: f64, progress: u8) -> Option<f64> {
        match self.eta {
            Eta::Exact => Some(end),
            Eta::Noisy { spread } => Some(t + (end - t) * self.wander(t, spread).exp()),
            Eta::Fixed { bias } => Some(end * bias),
            Eta::Optimistic { half } => Some(t + half * (end - t)),
            Eta::Extrapolated => (progress > 0).then(|| {
                let done = f64::from(progress);
                t + (t - queued).max(0.0) * (100.0 - done) / done
            }),
            Eta::ProgressOnly | Eta::Blind => None,
        }
    }

    /// Whether the server tells how far a job is.
    pub(super) fn tells_progress(&self) -> bool {
        self.eta != Eta::Blind
    }

    /// The next value of an Ornstein-Uhlenbeck process, so that the noise depends on time and not on how often
    /// one asks.
    fn wander(&mut self, t: f64, spread: f64) -> f64 {
        let fresh = self.rng.normal(spread);
        let x = match self.noise {
            None => fresh,
            Some((before, x)) => {
                let kept = (-(t - before).max(0.0) / FORGETS_AFTER).exp();
                kept * x + (1.0 - kept * kept).sqrt() * fresh
            }
        };
        self.noise = Some((t, x));
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server says at 10 s steps about a job of 100 s, 10 of them queued, with true progress.
    fn told(eta: Eta) -> Vec<Option<f64>> {
        let mut guesser = Guesser::new(eta, Rng::new(1, "diff/1"));
        (0..10)
            .map(|step| {
                let t = 10.0 * f64::from(step);
                let progress = ((t - 10.0).max(0.0) / 0.9) as u8;
                guesser.guess(t, 10.0, 100.0, progress).map(f64::round)
            })
            .collect()
    }

    #[test]
    fn exact_is_right_and_fixed_repeats_one_error() {
        assert!(told(Eta::Exact).iter().all(|eta| *eta == Some(100.0)));
        assert!(
            told(Eta::Fixed { bias: 1.7 })
                .iter()
                .all(|eta| *eta == Some(170.0))
        );
    }

    #[test]
    fn optimistic_is_too_early_by_the_same_share_of_what_is_left() {
        let etas = told(Eta::Optimistic { half: 0.5 });
        assert_eq!(etas[0], Some(50.0));
        assert_eq!(etas[6], Some(80.0));
        assert_eq!(etas[9], Some(95.0));
    }

    #[test]
    fn extrapolated_waits_for_progress_and_is_right_when_it_is_steady() {
        let etas = told(Eta::Extrapolated);
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
    fn noisy_errs_about_what_is_left_and_never_says_the_past() {
        let etas = told(Eta::Noisy { spread: 0.4 });
        assert!(etas.windows(2).any(|pair| pair[0] != pair[1]));
        for (step, eta) in etas.into_iter().enumerate() {
            assert!(eta.unwrap() >= 10.0 * step as f64);
        }
    }

    #[test]
    fn noise_hardly_moves_between_two_answers_a_moment_apart() {
        let mut guesser = Guesser::new(Eta::Noisy { spread: 0.4 }, Rng::new(1, "diff/1"));
        let first = guesser.guess(10.0, 0.0, 100.0, 1).unwrap();
        let second = guesser.guess(10.001, 0.0, 100.0, 1).unwrap();
        let later = guesser.guess(500.0, 0.0, 1000.0, 1).unwrap();
        assert!((first - second).abs() < 1.0, "{first} {second}");
        assert!((later - 1000.0).abs() > 1.0, "{later}");
    }

    #[test]
    fn progress_only_and_blind_tell_no_eta_and_blind_no_progress() {
        assert!(told(Eta::ProgressOnly).iter().all(Option::is_none));
        assert!(told(Eta::Blind).iter().all(Option::is_none));
        let tells = |eta| Guesser::new(eta, Rng::new(1, "x")).tells_progress();
        assert!(tells(Eta::ProgressOnly));
        assert!(!tells(Eta::Blind));
    }
}
