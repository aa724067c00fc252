use proptest::prelude::*;

use super::*;
use crate::job::JobKind;
use crate::schedule::Calibration;

const NOW_MS: i64 = 1_800_000_000_000;

pub(super) fn settings(policy: Policy) -> ScheduleSettings {
    ScheduleSettings {
        policy,
        request_cost: Duration::from_secs(1),
        min_interval: Duration::from_secs(1),
        max_interval: Duration::from_mins(10),
    }
}

/// The observation after `ms` of a watch, with an ETA `eta_s` after the first observation.
fn observation(ms: u64, eta_s: Option<i64>, progress: f32) -> Observation {
    Observation {
        up_ms: 5_000 + ms,
        server_now_ms: Some(NOW_MS + ms as i64),
        eta: eta_s.map(|eta| NOW_MS / 1000 + eta),
        start: None,
        progress: Some(progress),
    }
}

/// Watches a job that ends after `end_ms` and whose ETA is the function `eta_s` of the time. Returns the detection
/// delay in milliseconds, the number of requests and the history.
fn watch(
    end_ms: u64,
    calibration: &KindCalibration,
    mut eta_s: impl FnMut(u64) -> Option<i64>,
) -> (u64, usize, History) {
    let (mut history, mut now, mut requests) = (History::default(), 0, 1);
    while now < end_ms {
        let observation = observation(now, eta_s(now), 0.0);
        let (next, plan) =
            history.observe(&observation, calibration, &settings(Policy::Inspection));
        history = next;
        now += plan.wait.as_millis() as u64;
        requests += 1;
    }
    (now - end_ms, requests, history)
}

#[test]
fn a_job_of_five_seconds_is_detected_within_eight_more_whatever_its_eta() {
    let mut learned = Calibration::default();
    for job in 0..50 {
        let (late, _, history) = watch(3_600_000 + job, learned.of(JobKind::Diff), |_| Some(3_600));
        learned.update(
            JobKind::Diff,
            None,
            &history.calibration_update(5_000 + 3_600_000 + job + late, learned.of(JobKind::Diff)),
        );
    }
    for calibration in [Calibration::default(), learned] {
        for eta in [
            None,
            Some(-3_600),
            Some(0),
            Some(1),
            Some(30),
            Some(3_600),
            Some(i64::MAX / 2),
        ] {
            for end_ms in [1, 900, 3_000, 4_999, 5_000] {
                let (late, ..) = watch(end_ms, calibration.of(JobKind::Diff), |_| eta);
                assert!(
                    late <= 12_500 - end_ms,
                    "{end_ms} ms, eta {eta:?}: {late} ms late"
                );
            }
            let (late, ..) = watch(5_000, calibration.of(JobKind::Diff), |_| eta);
            assert!(late <= 8_000, "eta {eta:?}: {late} ms late");
        }
    }
}

#[test]
fn the_end_at_a_reliable_eta_is_detected_within_two_seconds_with_five_requests() {
    let mut calibration = Calibration::default();
    for job in 0..30 {
        let end = 300_500 + job * 20_000;
        let eta = Some(end as i64 / 1000);
        let (late, _, history) = watch(end, calibration.of(JobKind::Diff), |_| eta);
        calibration.update(
            JobKind::Diff,
            None,
            &history.calibration_update(5_000 + end + late, calibration.of(JobKind::Diff)),
        );
    }
    for eta in [305, 481, 551, 733, 907] {
        let end_ms = eta as u64 * 1_000 + 500;
        let (late, requests, _) = watch(end_ms, calibration.of(JobKind::Diff), |_| Some(eta));
        assert!(requests <= 5, "eta {eta}: {requests} requests");
        assert!(late <= 2_000, "eta {eta}: {late} ms late");
    }
    // An ETA that may be rounded to a whole minute is less precise.
    let (late, ..) = watch(480_500, calibration.of(JobKind::Diff), |_| Some(480));
    assert!(late <= 5_000, "{late} ms late");
}

#[test]
fn an_overdue_job_is_polled_at_growing_intervals() {
    let calibration = KindCalibration::default();
    let settings = settings(Policy::Inspection);
    let (mut history, mut now, mut waits) = (History::default(), 0, Vec::new());
    while now < 3_600_000 {
        let (next, plan) =
            history.observe(&observation(now, Some(60), 0.0), &calibration, &settings);
        if now > 120_000 {
            waits.push(plan.wait);
        }
        (history, now) = (next, now + plan.wait.as_millis() as u64);
    }
    assert!(waits.len() < 60, "{waits:?}");
    assert!(waits[waits.len() - 1] > 8 * waits[0], "{waits:?}");
}

#[test]
fn an_eta_that_had_passed_at_the_first_observation_is_ignored() {
    let calibration = KindCalibration::default();
    let settings = settings(Policy::Inspection);
    let (history, passed) =
        History::default().observe(&observation(0, Some(-50_000), 0.0), &calibration, &settings);
    assert_eq!(history.estimate(&calibration, 5_000), None);
    let (_, none) = History::default().observe(&observation(0, None, 0.0), &calibration, &settings);
    assert_eq!(passed.wait, none.wait);
}

#[test]
fn exponential_waits_start_at_min_interval_and_grow_by_half_to_thirty_seconds() {
    let calibration = KindCalibration::default();
    let settings = settings(Policy::Exponential);
    let (mut history, mut now, mut waits) = (History::default(), 0, Vec::new());
    for _ in 0..12 {
        let (next, plan) = history.observe(&observation(now, None, 0.0), &calibration, &settings);
        waits.push(plan.wait.as_millis() as u64);
        (history, now) = (next, now + plan.wait.as_millis() as u64);
    }
    assert_eq!(waits[..4], [1_000, 1_500, 2_250, 3_375]);
    assert_eq!(waits[9..], [30_000; 3]);
}

#[test]
fn an_empty_history_gives_an_empty_calibration_update() {
    assert_eq!(
        History::default().calibration_update(99_000, &KindCalibration::default()),
        CalibrationUpdate::default()
    );
}

#[test]
fn the_plan_contains_the_basis_of_its_forecast() {
    let calibration = KindCalibration::default();
    let settings = settings(Policy::Inspection);
    let (history, first) =
        History::default().observe(&observation(0, Some(500), 10.0), &calibration, &settings);
    assert_eq!(first.basis.limited_by, Some(WaitLimit::ShortJob));
    assert_eq!(first.basis.main_source, Some(EstimateSource::Eta));
    let (_, second) = history.observe(
        &observation(12_500, Some(500), 12.0),
        &calibration,
        &settings,
    );
    assert!(second.basis.estimates[EstimateSource::Progress as usize].is_some());
    assert!(second.basis.eta_reliability > 0.1);
}

/// Any observation that a server can cause, valid or not.
fn any_observation() -> impl Strategy<Value = Observation> {
    let time = prop_oneof![
        any::<i64>(),
        Just(0),
        Just(-1),
        Just(253_402_300_799),
        NOW_MS / 1000 - 4_000..NOW_MS / 1000 + 4_000,
    ];
    let progress = prop_oneof![any::<f32>(), 0.0..100.0f32, Just(f32::NAN), Just(99.9)];
    let up_ms = prop_oneof![any::<u64>(), 0..10_000_000u64];
    let now = prop_oneof![any::<i64>(), NOW_MS..NOW_MS + 10_000_000];
    (
        up_ms,
        proptest::option::of(now),
        proptest::option::of(time.clone()),
        proptest::option::of(time),
        proptest::option::of(progress),
    )
        .prop_map(|(up_ms, server_now_ms, eta, start, progress)| Observation {
            up_ms,
            server_now_ms,
            eta,
            start,
            progress,
        })
}

proptest! {
    #[test]
    fn waits_are_within_bounds_and_reproducible_whatever_a_server_sends(
        jobs in proptest::collection::vec(
            (proptest::collection::vec(any_observation(), 1..12), any::<u64>()), 1..5),
        min_ms in 1..20_000u64,
        more_ms in 0..10_000_000u64,
        cost_ms in 1..10_000_000u64,
        exponential in any::<bool>(),
    ) {
        let min_interval = Duration::from_millis(min_ms);
        let settings = ScheduleSettings {
            policy: if exponential { Policy::Exponential } else { Policy::Inspection },
            request_cost: Duration::from_millis(cost_ms),
            min_interval,
            max_interval: min_interval + Duration::from_millis(more_ms),
        };
        let mut calibration = Calibration::default();
        for (observations, end_up_ms) in jobs {
            let mut history = History::default();
            for observation in observations {
                let (next, plan) = history.observe(&observation, calibration.of(JobKind::Diff), &settings);
                prop_assert!(plan.wait >= settings.min_interval && plan.wait <= settings.max_interval);
                prop_assert!(plan.basis.eta_reliability.is_finite());
                let (_, again) = history.observe(&observation, calibration.of(JobKind::Diff), &settings);
                prop_assert_eq!(plan, again);
                history = next;
            }
            let update = history.calibration_update(end_up_ms, calibration.of(JobKind::Diff));
            calibration.update(JobKind::Diff, None, &update);
        }
        // JSON has no NaN and no infinity, so a value that survives it was finite.
        let text = serde_json::to_string(&calibration).unwrap();
        prop_assert_eq!(serde_json::from_str::<Calibration>(&text).unwrap(), calibration);
    }
}
