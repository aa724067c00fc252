use proptest::prelude::*;

use super::*;
use crate::Script;

fn job(lines: &str) -> ScriptedJob {
    let text =
        format!("[[jobs]]\njob = \"diff/1\"\nduration = \"100s\"\nprogress_curve = 1.0\n{lines}");
    Script::parse(&text).unwrap().jobs.remove(0)
}

/// State, progress and time of the last change at these seconds.
fn snapshots(job: &ScriptedJob, at: &[f64]) -> Vec<(JobState, u8, f64)> {
    let snapshot = |t: &f64| job.snapshot(*t);
    at.iter()
        .map(snapshot)
        .map(|s| (s.state, s.progress, s.updated))
        .collect()
}

#[test]
fn a_job_is_queued_runs_and_ends() {
    use JobState::{Completed, Queued, Running};
    assert_eq!(
        snapshots(
            &job("queued = \"20s\""),
            &[0.0, 19.0, 20.0, 60.0, 99.9, 100.0, 500.0]
        ),
        [
            (Queued, 0, 0.0),
            (Queued, 0, 0.0),
            (Running, 0, 20.0),
            (Running, 50, 60.0),
            (Running, 99, 99.9),
            (Completed, 100, 100.0),
            (Completed, 100, 100.0)
        ]
    );
}

#[test]
fn a_setback_goes_backwards_and_ends_at_the_same_time() {
    use JobState::{Completed, Queued, Running};
    let job = job(
        "setbacks = [{ at = \"50s\", for = \"10s\", state = \"queued\", progress = 20, jobfailed = 1 }]",
    );
    assert_eq!(
        snapshots(&job, &[49.0, 50.0, 59.0, 60.0, 80.0, 100.0]),
        [
            (Running, 49, 49.0),
            (Queued, 20, 50.0),
            (Queued, 20, 59.0),
            (Running, 20, 60.0),
            (Running, 60, 80.0),
            (Completed, 100, 100.0)
        ]
    );
    let failures: Vec<u32> = [49.0, 55.0, 70.0, 100.0]
        .iter()
        .map(|t| job.snapshot(*t).jobfailed)
        .collect();
    assert_eq!(failures, [0, 1, 1, 1]);
}

#[test]
fn nothing_changes_during_a_stall_and_the_end_stays_the_same() {
    use JobState::{Completed, Running};
    let job = job("stalls = [{ at = \"30s\", for = \"20s\" }, { at = \"90s\", for = \"1h\" }]");
    assert_eq!(
        snapshots(&job, &[30.0, 49.0, 50.0, 95.0, 100.0]),
        [
            (Running, 30, 30.0),
            (Running, 30, 30.0),
            (Running, 50, 50.0),
            (Running, 90, 90.0),
            (Completed, 100, 100.0)
        ]
    );
}

proptest! {
    #[test]
    fn progress_is_a_percentage_and_updates_are_in_the_past(t in 0.0..300.0, progress_curve in 0.1..10.0) {
        let mut job = job("queued = \"7s\"\nsetbacks = [{ at = \"30s\", progress = 3 }]");
        job.progress_curve = progress_curve;
        let snapshot = job.snapshot(t);
        prop_assert!(snapshot.progress <= 100);
        prop_assert!(snapshot.updated <= t);
        prop_assert_eq!(snapshot.ended, t >= 100.0);
        prop_assert_eq!(snapshot.ended, snapshot.progress == 100);
    }
}

fn predictor(model: EtaModel) -> EtaPredictor {
    let eta = EtaSettings {
        model,
        spread: 0.4,
        bias: 1.7,
        fraction: 0.5,
    };
    EtaPredictor::new(eta, SeededRng::named(1, "diff/1"))
}

/// The reported ETAs, every 10 s, of a job of 100 s with 10 s in the queue.
fn reported(model: EtaModel) -> Vec<Option<f64>> {
    let mut predictor = predictor(model);
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
        reported(EtaModel::Fixed)
            .iter()
            .all(|eta| *eta == Some(170.0))
    );
}

#[test]
fn optimistic_reports_a_fraction_of_the_remaining_time() {
    let etas = reported(EtaModel::Optimistic);
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
    let etas = reported(EtaModel::Noisy);
    assert!(etas.windows(2).any(|pair| pair[0] != pair[1]));
    for (step, eta) in etas.into_iter().enumerate() {
        assert!(eta.unwrap() >= 10.0 * step as f64);
    }
}

#[test]
fn noise_is_correlated_in_time() {
    let mut predictor = predictor(EtaModel::Noisy);
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
    assert!(predictor(EtaModel::ProgressOnly).reports_progress());
    assert!(!predictor(EtaModel::Hidden).reports_progress());
}
