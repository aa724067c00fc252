//! What the engine measures: exact in virtual time.

use super::*;

#[tokio::test(start_paused = true)]
async fn each_poll_is_counted_once_with_its_result_duration_and_lateness() {
    let mut setup = Setup::of(9);
    setup.latency = Duration::from_millis(200);
    setup.throttle.max_in_flight = 3;
    let (mut engine, log) = setup.engine(store::NoStore, |now, job| match job.id.get() {
        1 if now < 60_000 => Err(error(ErrorKind::Timeout)),
        2 if now < 60_000 => Err(error(ErrorKind::NotFound)),
        _ => running(if now > 90_000 { 100.0 } else { 1.0 }),
    });
    finish(&mut engine).await;
    let measured = engine.measured();
    let polls = log.requests.borrow().len() as u64;
    let failed: u64 = measured.failed.values().sum();
    assert_eq!(measured.succeeded + failed, polls);
    assert!(measured.failed["timeout"] > 0 && measured.failed["not_found"] > 0);
    assert_eq!(
        failed,
        measured.failed["timeout"] + measured.failed["not_found"]
    );
    assert_eq!(measured.duration.count(), polls);
    assert!((measured.duration.sum() - 0.2 * polls as f64).abs() < 1e-6);
    assert_eq!(measured.lateness.count(), polls);
    // All nine are due at once, and three are polled at a time: these are late by 0, 200 and 400 ms.
    let first_nine = 3.0 * (0.2 + 0.4);
    assert!(measured.lateness.sum() >= first_nine);
    let last = engine.now().wall_ms;
    assert_eq!(measured.last_success_wall_ms, Some(last));
}

#[tokio::test(start_paused = true)]
async fn the_state_of_the_api_is_that_of_the_circuit_breaker() {
    let mut setup = Setup::of(3);
    setup.limits.give_up_after = None;
    let (mut engine, _) = setup.engine(store::NoStore, |now, _| match now {
        0..10_000 => running(1.0),
        10_000..60_000 => Err(error(ErrorKind::Server)),
        60_000..600_000 => Err(PollError {
            retry_after: Some(Duration::from_secs(30)),
            ..error(ErrorKind::RateLimited)
        }),
        _ => running(2.0),
    });
    let state = |engine: &Engine<_, _, _>| engine.api_availability(engine.now());
    run_until(&mut engine, 9_000).await;
    assert_eq!(state(&engine), ApiAvailability::default());
    run_until(&mut engine, 59_000).await;
    let down = state(&engine);
    assert!(down.is_down && down.paused_until_wall_ms.is_none());
    assert_eq!(down.error.unwrap().kind, ErrorKind::Server);
    let paused = loop {
        let soon = engine.now().up_ms + 500;
        run_until(&mut engine, soon).await;
        let state = state(&engine);
        if state.paused_until_wall_ms.is_some() {
            break state;
        }
        assert!(engine.now().up_ms < 600_000);
    };
    assert_eq!(paused.error.unwrap().kind, ErrorKind::RateLimited);
    let left = paused.paused_until_wall_ms.unwrap() - engine.now().wall_ms;
    assert!((29_000..=30_000).contains(&left), "{left}");
    run_until(&mut engine, 1_200_000).await;
    assert_eq!(state(&engine), ApiAvailability::default());
}
