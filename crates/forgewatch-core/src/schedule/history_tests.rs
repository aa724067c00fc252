use proptest::prelude::*;

use super::*;
use crate::job::JobKind;
use crate::schedule::Calibration;

const NOW_MS: i64 = 1_800_000_000_000;

fn rules(policy: Policy) -> Rules {
    Rules {
        policy,
        request_cost: Duration::from_secs(1),
        min_interval: Duration::from_secs(1),
        max_interval: Duration::from_mins(10),
    }
}

/// The answer after `ms` of a watch, with an ETA `eta_s` after the watch's first answer.
fn seen(ms: u64, eta_s: Option<i64>, progress: f32) -> Observation {
    Observation {
        up_ms: 5_000 + ms,
        server_now_ms: Some(NOW_MS + ms as i64),
        eta: eta_s.map(|eta| NOW_MS / 1000 + eta),
        start: None,
        progress: Some(progress),
    }
}

/// Watches a job that ends after `end_ms` and whose ETA is what `eta_s` says of the time; how late its end is seen,
/// and the trace with which it was.
fn watch(
    end_ms: u64,
    memory: &KindCalibration,
    mut eta_s: impl FnMut(u64) -> Option<i64>,
) -> (u64, usize, History) {
    let (mut trace, mut now, mut requests) = (History::default(), 0, 1);
    while now < end_ms {
        let answer = seen(now, eta_s(now), 0.0);
        let (next, plan) = trace.next(&answer, memory, &rules(Policy::Inspection));
        trace = next;
        now += plan.wait.as_millis() as u64;
        requests += 1;
    }
    (now - end_ms, requests, trace)
}

#[test]
fn a_trace_is_small_enough_for_a_hundred_thousand_watches() {
    assert!(size_of::<History>() <= 64);
}

#[test]
fn a_job_of_five_seconds_is_seen_within_eight_more_whatever_its_eta() {
    let mut learnt = Calibration::default();
    for job in 0..50 {
        let (late, _, trace) = watch(3_600_000 + job, learnt.of(JobKind::Diff), |_| Some(3_600));
        learnt.learn(
            JobKind::Diff,
            &trace.samples(5_000 + 3_600_000 + job + late),
        );
    }
    for memory in [Calibration::default(), learnt] {
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
                let (late, ..) = watch(end_ms, memory.of(JobKind::Diff), |_| eta);
                assert!(
                    late <= 12_500 - end_ms,
                    "{end_ms} ms, eta {eta:?}: {late} ms late"
                );
            }
            let (late, ..) = watch(5_000, memory.of(JobKind::Diff), |_| eta);
            assert!(late <= 8_000, "eta {eta:?}: {late} ms late");
        }
    }
}

#[test]
fn an_eta_that_is_always_kept_is_met_to_two_seconds_with_five_requests() {
    let mut memory = Calibration::default();
    for job in 0..30 {
        let end = 300_500 + job * 20_000;
        let eta = Some(end as i64 / 1000);
        let (late, _, trace) = watch(end, memory.of(JobKind::Diff), |_| eta);
        memory.learn(JobKind::Diff, &trace.samples(5_000 + end + late));
    }
    for eta in [305, 481, 551, 733, 907] {
        let end_ms = eta as u64 * 1_000 + 500;
        let (late, requests, _) = watch(end_ms, memory.of(JobKind::Diff), |_| Some(eta));
        assert!(requests <= 5, "eta {eta}: {requests} requests");
        assert!(late <= 2_000, "eta {eta}: {late} ms late");
    }
    // What may be a whole minute cut down leaves more open.
    let (late, ..) = watch(480_500, memory.of(JobKind::Diff), |_| Some(480));
    assert!(late <= 5_000, "{late} ms late");
}

#[test]
fn an_overdue_job_is_asked_about_ever_more_seldom() {
    let memory = KindCalibration::default();
    let rules = rules(Policy::Inspection);
    let (mut trace, mut now, mut waits) = (History::default(), 0, Vec::new());
    while now < 3_600_000 {
        let (next, plan) = trace.next(&seen(now, Some(60), 0.0), &memory, &rules);
        if now > 120_000 {
            waits.push(plan.wait);
        }
        (trace, now) = (next, now + plan.wait.as_millis() as u64);
    }
    assert!(waits.len() < 60, "{waits:?}");
    assert!(waits[waits.len() - 1] > 8 * waits[0], "{waits:?}");
}

#[test]
fn an_eta_that_had_passed_at_the_first_answer_is_evidence_of_nothing() {
    let memory = KindCalibration::default();
    let rules = rules(Policy::Inspection);
    let (_, passed) = History::default().next(&seen(0, Some(-50_000), 0.0), &memory, &rules);
    let (_, none) = History::default().next(&seen(0, None, 0.0), &memory, &rules);
    assert_eq!(passed.wait, none.wait);
    assert_eq!(passed.left, None);
}

#[test]
fn the_plain_policy_starts_at_the_least_and_grows_by_half_to_thirty_seconds() {
    let memory = KindCalibration::default();
    let rules = rules(Policy::Exponential);
    let (mut trace, mut now, mut waits) = (History::default(), 0, Vec::new());
    for _ in 0..12 {
        let (next, plan) = trace.next(&seen(now, None, 0.0), &memory, &rules);
        waits.push(plan.wait.as_millis() as u64);
        (trace, now) = (next, now + plan.wait.as_millis() as u64);
    }
    assert_eq!(waits[..4], [1_000, 1_500, 2_250, 3_375]);
    assert_eq!(waits[9..], [30_000; 3]);
}

#[test]
fn a_full_trace_keeps_its_first_and_latest_answers_and_stays_spread() {
    let mut trace = History::default();
    for i in 0..200u64 {
        trace = trace.with(&seen(i * 1_000, Some(500), 0.0));
    }
    let at: Vec<f32> = trace.earlier().map(|mark| mark.at).collect();
    assert_eq!(at.len(), MARKS - 1);
    assert!(at[0].abs() < f32::EPSILON);
    assert!((trace.latest().at - 199.0).abs() < 1e-3);
    assert!(at[1] > 20.0, "{at:?}");
}

#[test]
fn whole_minutes_are_recognised_until_an_eta_breaks_them() {
    let mut trace = History::default().with(&seen(0, Some(600), 0.0));
    assert!((trace.grain() - 60.0).abs() < f32::EPSILON);
    trace = trace.with(&seen(1_000, Some(610), 0.0));
    assert!((trace.grain() - 10.0).abs() < f32::EPSILON);
    trace = trace.with(&seen(2_000, Some(611), 0.0));
    assert!((trace.grain() - 1.0).abs() < f32::EPSILON);
}

#[test]
fn a_watch_that_saw_nothing_teaches_nothing() {
    assert_eq!(History::default().samples(99_000), Samples::default());
}

#[test]
fn the_plan_says_what_it_was_made_from() {
    let memory = KindCalibration::default();
    let rules = rules(Policy::Inspection);
    let (trace, first) = History::default().next(&seen(0, Some(500), 10.0), &memory, &rules);
    assert_eq!(first.why.bound, Some(Bound::ShortJob));
    assert_eq!(first.why.weighs_most, Some(Source::Eta));
    let (_, second) = trace.next(&seen(12_500, Some(500), 12.0), &memory, &rules);
    assert!(second.why.estimates[Source::Progress as usize].is_some());
    assert!(second.why.kept > 0.1);
    assert!(second.left.is_some_and(|left| left > second.wait));
}

/// Answers as a server without any shame could send them.
fn any_seen() -> impl Strategy<Value = Observation> {
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
    fn a_wait_is_within_bounds_and_repeatable_whatever_a_server_sends(
        jobs in proptest::collection::vec(
            (proptest::collection::vec(any_seen(), 1..12), any::<u64>()), 1..5),
        least_ms in 1..20_000u64,
        more_ms in 0..10_000_000u64,
        cost_ms in 1..10_000_000u64,
        exponential in any::<bool>(),
    ) {
        let least = Duration::from_millis(least_ms);
        let rules = Rules {
            policy: if exponential { Policy::Exponential } else { Policy::Inspection },
            request_cost: Duration::from_millis(cost_ms),
            min_interval: least,
            max_interval: least + Duration::from_millis(more_ms),
        };
        let mut memory = Calibration::default();
        for (answers, end_up_ms) in jobs {
            let mut trace = History::default();
            for seen in answers {
                let (next, plan) = trace.next(&seen, memory.of(JobKind::Diff), &rules);
                prop_assert!(plan.wait >= rules.min_interval && plan.wait <= rules.max_interval);
                prop_assert!(plan.why.kept.is_finite());
                let (_, again) = trace.next(&seen, memory.of(JobKind::Diff), &rules);
                prop_assert_eq!(plan, again);
                trace = next;
            }
            memory.learn(JobKind::Diff, &trace.samples(end_up_ms));
        }
        // JSON has no NaN and no infinity: what it can carry was finite.
        let text = serde_json::to_string(&memory).unwrap();
        prop_assert_eq!(serde_json::from_str::<Calibration>(&text).unwrap(), memory);
    }
}
