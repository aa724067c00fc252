//! The least cost that is possible: of the best policy that knows how the server makes its ETA and how long jobs run, but
//! no random value of the job itself.

use super::models::{Length, ServerModel};
use super::reference::erfc;
use super::{MAX_INTERVAL, MIN_INTERVAL, REQUEST_COST};

/// The least mean cost of a row, in requests.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    pub cost: f64,
    /// Whether the policy, too, polls a watch younger than 5 s again by its age of 12.5 s.
    pub short_jobs: bool,
}

impl Bound {
    /// The bound of a row, if one is known. Policies found by posterior sampling and value iteration with 2,000 jobs per
    /// row: the optimum is at most that, and where it is known, the method lands 0 to 3 % above it. Exact are `blind` and
    /// `to the second`: two requests and half a second, and a request more per `max_interval`.
    pub(crate) fn of(model: ServerModel, length: Length) -> Option<Self> {
        let (long, short, short_jobs) = match model {
            ServerModel::Exact => (5.53, 4.06, true),
            ServerModel::Noisy => (7.64, 4.66, true),
            ServerModel::Fixed => (7.98, 4.69, true),
            ServerModel::Optimistic => (6.21, 4.48, true),
            ServerModel::Extrapolated => (7.86, 4.56, true),
            ServerModel::ProgressOnly => (8.23, 4.71, true),
            ServerModel::Blind => (blind(Length::Long), blind(Length::Short), true),
            ServerModel::ToTheSecond => (3.35, 2.50, false),
            ServerModel::ClockOffset => (4.54, 3.26, false),
            ServerModel::AlwaysLate => (6.99, 3.79, false),
            ServerModel::HeavyTail => (5.34, 3.70, false),
            ServerModel::Minutes => (7.38, 4.40, false),
            ServerModel::ZeroToHundred => (11.5, 5.83, false),
            _ => return None,
        };
        let cost = match length {
            Length::Long => long,
            Length::Short => short,
        };
        Some(Self { cost, short_jobs })
    }
}

/// The least cost of watching a job that shows nothing but its end, by dynamic programming over its age (R. E. Barlow,
/// L. C. Hunter and F. Proschan, "Optimum checking procedures", J. SIAM 11, 1963): with the survival function S, the
/// distribution function F and W(t) the expected cost after a poll at the age t, which finds the job running,
///
/// ```text
/// W(t) = min over u of  S(t) + integral from t to u of (F(x) - F(t)) dx / k + W(u)
/// ```
fn blind(length: Length) -> f64 {
    let (step, longest, distribution): (f64, f64, fn(f64) -> f64) = match length {
        Length::Long => (0.5, 7200.0, |age| match age {
            _ if age < 15.0 => 0.0,
            _ if age >= 7200.0 => 1.0,
            _ => 1.0 - 0.5 * erfc((age.ln() - 480f64.ln()) / std::f64::consts::SQRT_2),
        }),
        Length::Short => (0.05, 60.0, |age| ((age - 20.0) / 40.0).clamp(0.0, 1.0)),
    };
    let ages = (longest / step) as usize;
    let age = |i: usize| i as f64 * step;
    let ended: Vec<f64> = (0..=ages).map(|i| distribution(age(i))).collect();
    let mut integral = vec![0.0; ages + 1];
    for i in 1..=ages {
        integral[i] = integral[i - 1] + 0.5 * (ended[i - 1] + ended[i]) * step;
    }
    let (least, most) = (MIN_INTERVAL / step, MAX_INTERVAL / step);
    let mut cost = vec![0.0; ages + 1];
    for i in (0..ages).rev() {
        let latest = if age(i) < 5.0 {
            (12.5 / step) as usize
        } else {
            (i + most as usize).min(ages)
        };
        let earliest = (i + least as usize).min(latest);
        let best = (earliest..=latest).map(|j| {
            let late = integral[j] - integral[i] - ended[i] * (age(j) - age(i));
            1.0 - ended[i] + late / REQUEST_COST + cost[j]
        });
        cost[i] = best.fold(f64::INFINITY, f64::min);
    }
    1.0 + cost[0]
}
