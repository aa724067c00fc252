//! An ETA that slips at a constant rate.
//!
//! If the server's ETA is always short by the same share, the time until it falls along a straight line that reaches zero
//! at the end T: `eta(t) - t = h (T - t)`. Two samples give T; a third one on the line shows that there is one. With ETAs
//! rounded down to the granularity g, T is then known to about `g / (h (t2 - t1))` of the time left.

use super::history::{History, SAME_ETA};

/// The window of the end is used if it is narrower than this share of the time left.
const PRECISE: f32 = 0.5;

/// The window in which the job ends if all ETAs so far lie on one line: its beginning, in seconds since the first
/// observation, and its width.
pub(super) fn end_by_line(history: &History) -> Option<(f32, f32)> {
    let granularity = history.granularity();
    // ETAs are rounded down: the middle.
    let left = |at: f32, eta: f32| eta + 0.5 * granularity - at;
    let mut etas = history
        .samples()
        .filter_map(|sample| Some((sample.at, sample.eta?)));
    let (since, first_eta) = etas.next()?;
    let now = history.latest();
    let (first, last) = (left(since, first_eta), left(now.at, now.eta?));
    let (waited, gained) = (now.at - since, first - last);
    if waited <= 0.0 || gained <= 0.0 || last <= 0.0 {
        return None;
    }
    let tolerance = granularity.max(SAME_ETA);
    let mut on_line = 0;
    for (at, eta) in etas {
        let by_line = first - gained * (at - since) / waited;
        if (left(at, eta) - by_line).abs() > tolerance {
            return None;
        }
        on_line += 1;
    }
    let rest = last * waited / gained;
    // Each end of the line may be off by half of the tolerance.
    let off = 0.5 * tolerance * waited / gained * (1.0 + 2.0 * last / gained);
    // The latest sample and one between.
    (on_line >= 2 && 2.0 * off < PRECISE * rest).then_some((now.at + rest - off, 2.0 * off))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Observation;

    /// The history of polls at these seconds, with this ETA at each.
    fn history(polls: &[(u64, i64)]) -> History {
        polls
            .iter()
            .fold(History::default(), |history, &(at, eta)| {
                history.with(&Observation {
                    up_ms: at * 1_000,
                    server_now_ms: Some(at as i64 * 1_000),
                    eta: Some(eta),
                    ..Observation::default()
                })
            })
    }

    /// A job of 601 s whose ETA is always short by the same share.
    fn short_by(share: f32, polls: &[u64]) -> History {
        let eta = |at: u64| (601.0 - share * (601.0 - at as f32)) as i64;
        let polls: Vec<_> = polls.iter().map(|&at| (at, eta(at))).collect();
        history(&polls)
    }

    #[test]
    fn a_third_sample_on_the_line_narrows_the_end_to_a_fifth_of_the_time_left() {
        for share in [0.1, 0.4, 0.7] {
            let (from, width) = end_by_line(&short_by(share, &[0, 150, 400])).unwrap();
            assert!(from <= 601.5 && 601.0 <= from + width, "{from} {width}");
            assert!(width < 40.0, "{width}");
        }
    }

    #[test]
    fn two_samples_are_no_line_and_three_off_it_neither() {
        assert_eq!(end_by_line(&short_by(0.4, &[0, 300])), None);
        assert_eq!(
            end_by_line(&history(&[(0, 241), (150, 283), (300, 421)])),
            None
        );
    }

    #[test]
    fn etas_that_move_away_have_no_line() {
        assert_eq!(
            end_by_line(&history(&[(0, 100), (100, 300), (200, 500)])),
            None
        );
        assert_eq!(
            end_by_line(&history(&[(0, -100), (100, -50), (200, 1)])),
            None
        );
        let far = 253_402_300_799;
        assert_eq!(
            end_by_line(&history(&[(0, far), (100, far - 50), (200, -far)])),
            None
        );
    }
}
