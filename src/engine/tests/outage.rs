//! The API as a whole, or one job, cannot be polled.

use super::*;

#[tokio::test(start_paused = true)]
async fn during_an_outage_only_probes_are_sent_and_polling_resumes_slowly() {
    let mut setup = Setup::of(300);
    setup.limits.give_up_after = None;
    let (mut engine, log) = setup.engine(store::NoStore, |now, _| match now {
        0..60_000 => running(1.0),
        60_000..660_000 => Err(error(ErrorKind::Server)),
        660_000..1_200_000 => running(2.0),
        _ => running(100.0),
    });
    let events = finish(&mut engine).await;
    let seconds = log.per_second(1_400);
    // The circuit breaker opens after 5 s without a success.
    let down: usize = seconds[66..660].iter().sum();
    assert!(down < 20, "{down} requests in ten minutes of outage");
    let back = seconds[660..].iter().position(|&n| n > 1).unwrap() + 660;
    assert!(back < 660 + 301, "back {back}");
    assert!(
        seconds[back..back + 10].iter().all(|&n| n <= 15),
        "{:?}",
        &seconds[back..back + 10]
    );
    assert!(seconds.iter().all(|&n| n <= 30));
    let count = |name| types(&events).iter().filter(|&&t| t == name).count();
    assert_eq!(
        count("job.unreachable"),
        300,
        "every job is reported, though few were polled"
    );
    assert_eq!((count("job.reachable"), count("job.completed")), (300, 300));
}

#[tokio::test(start_paused = true)]
async fn every_watch_gives_up_during_an_outage_though_only_probes_are_sent() {
    let (mut engine, log) =
        Setup::of(40).engine(store::NoStore, |_, _| Err(error(ErrorKind::Connect)));
    let events = finish(&mut engine).await;
    assert_eq!(
        types(&events)
            .iter()
            .filter(|&&t| t == "job.gave_up")
            .count(),
        40
    );
    assert!(
        log.requests.borrow().len() < 100,
        "{}",
        log.requests.borrow().len()
    );
    assert!(events.iter().all(|(at, _)| *at <= 610_000));
}

#[tokio::test(start_paused = true)]
async fn one_failing_job_does_not_slow_the_others() {
    let (mut engine, log) = Setup::of(9).engine(store::NoStore, |now, job| {
        if job.id.get() == 1 {
            Err(error(ErrorKind::Server))
        } else {
            running((now / 1000) as f32)
        }
    });
    let events = finish(&mut engine).await;
    assert_eq!(
        types(&events)
            .iter()
            .filter(|&&t| t == "job.completed")
            .count(),
        8
    );
    assert_eq!(types(&events).last(), Some(&"job.gave_up"));
    let polls_of = |id| {
        log.requests
            .borrow()
            .iter()
            .filter(|(_, j)| j.id.get() == id)
            .count()
    };
    assert!(
        polls_of(2) > 2 && polls_of(1) < 40,
        "{} {}",
        polls_of(2),
        polls_of(1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_respects_the_retry_after_of_each_job() {
    let mut setup = Setup::of(3);
    setup.limits.give_up_after = None;
    // Two jobs get a Retry-After of half an hour each time; only the third can be the probe.
    let (mut engine, log) = setup.engine(store::NoStore, |now, job| match job.id.get() {
        _ if now > 7_200_000 => running(100.0),
        3 => Err(error(ErrorKind::Server)),
        _ => Err(PollError {
            http_status: Some(503),
            retry_after: Some(Duration::from_mins(30)),
            ..error(ErrorKind::Server)
        }),
    });
    finish(&mut engine).await;
    for id in [1, 2] {
        let requests = log.requests.borrow();
        let polled_at: Vec<u64> = requests
            .iter()
            .filter(|(_, j)| j.id.get() == id)
            .map(|(at, _)| *at)
            .collect();
        assert!(
            polled_at.is_sorted_by(|a, b| b - a >= 1_800_000),
            "{polled_at:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_during_an_outage_does_not_slow_the_resumption() {
    let mut setup = Setup::of(300);
    setup.limits.give_up_after = None;
    let (mut engine, log) = setup.engine(store::NoStore, |now, _| match now {
        60_000..660_000 => Err(PollError {
            http_status: Some(503),
            // The maintenance page comes some time after the servers have gone.
            retry_after: (now > 80_000).then_some(Duration::from_secs(20)),
            ..error(ErrorKind::Server)
        }),
        _ => running(1.0),
    });
    run_until(&mut engine, 1_200_000).await;
    let seconds = log.per_second(1_200);
    let usual: usize = seconds[20..50].iter().sum();
    let back = seconds[660..].iter().position(|&n| n > 1).unwrap() + 660;
    let after: usize = seconds[back + 10..back + 20].iter().sum();
    assert!(
        after * 3 * 2 > usual,
        "{after} in ten seconds, {usual} in thirty before"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_names_another_account_forgets_what_was_learned() {
    let setup = Setup::of(1);
    let (limits, throttle) = (setup.limits.clone(), setup.throttle);
    let respond = |now, _| running(if now > 60_000 { 100.0 } else { 1.0 });
    let (mut engine, log) = setup.engine(store::NoStore, respond);
    finish(&mut engine).await;
    let mut reload = |server| {
        let api = FakeApi {
            start: Instant::now(),
            latency: Duration::ZERO,
            log: Rc::clone(&log),
            respond,
        };
        engine.configure(api, Some(server), limits.clone(), throttle);
        engine.calibration().to_json()
    };
    assert!(reload(server()).is_some(), "the same account continues");
    let other = ServerKey {
        account_service_id: 2,
        ..server()
    };
    assert_eq!(reload(other), None);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_max_interval_applies_from_the_reload_on() {
    let mut setup = Setup::of(1);
    setup.limits.schedule.max_interval = Duration::from_hours(24);
    let (limits, throttle) = (setup.limits.clone(), setup.throttle);
    let eta = |now: u64| EPOCH_S + (now / 1000).cast_signed() + 80_000;
    let respond = move |now, _| {
        running(0.0).map(|status| Status {
            eta: Some(eta(now)),
            ..status
        })
    };
    let (mut engine, log) = setup.engine(store::NoStore, respond);
    run_until(&mut engine, 7_200_000).await;
    let before = log.requests.borrow().len();
    let wait = engine.watches().next().unwrap().next_poll_in(engine.now());
    assert!(wait > Duration::from_mins(2), "{wait:?}");
    let api = FakeApi {
        start: Instant::now(),
        latency: Duration::ZERO,
        log: Rc::clone(&log),
        respond,
    };
    let mut shorter = limits;
    shorter.schedule.max_interval = Duration::from_mins(1);
    engine.configure(api, Some(server()), shorter, throttle);
    run_until(&mut engine, 7_265_000).await;
    assert!(log.requests.borrow().len() > before);
}

fn limited_for(retry_after: Duration) -> PollError {
    PollError {
        http_status: Some(429),
        retry_after: Some(retry_after),
        ..error(ErrorKind::RateLimited)
    }
}

#[tokio::test(start_paused = true)]
async fn every_job_gives_up_at_its_time_during_a_pause() {
    let mut setup = Setup::of(8);
    setup.limits.give_up_after = Some(Duration::from_secs(3));
    setup.throttle.max_in_flight = 2;
    let (mut engine, log) = setup.engine(store::NoStore, |_, _| {
        Err(limited_for(Duration::from_secs(20)))
    });
    let events = finish(&mut engine).await;
    assert_eq!(types(&events), ["job.gave_up"; 8]);
    assert!(
        events.iter().all(|(at, _)| (3_000..3_050).contains(at)),
        "{events:?}"
    );
    assert_eq!(
        log.requests.borrow().len(),
        2,
        "the others were never polled"
    );
    let held = &events.iter().find(|(_, e)| e.fields.requests == Some(0));
    let message = held.unwrap().1.fields.error_message.as_deref().unwrap();
    assert!(message.contains("a scripted rate_limited"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_another_job_caused_delays_no_event() {
    let mut setup = Setup::of(3);
    setup.limits.stalled_after = Duration::from_secs(30);
    setup.limits.unreachable_after = Duration::from_secs(40);
    setup.limits.schedule.max_interval = Duration::from_secs(5);
    let (mut engine, log) = setup.engine(store::NoStore, |now, _| match now {
        20_000.. => Err(limited_for(Duration::from_secs(600))),
        _ => running(1.0),
    });
    let events = run_until(&mut engine, 75_000).await;
    let times = |kind| -> Vec<u64> {
        let of_kind = events.iter().filter(|(_, e)| e.kind.as_str() == kind);
        of_kind.map(|(at, _)| at / 1000).collect()
    };
    assert_eq!(times("job.stalled"), [30; 3]);
    let unreachable = times("job.unreachable");
    assert!(
        unreachable.len() == 3 && unreachable.iter().all(|at| (60..=66).contains(at)),
        "{unreachable:?}"
    );
    let late = log
        .requests
        .borrow()
        .iter()
        .filter(|(at, _)| (26_000..80_000).contains(at))
        .count();
    assert_eq!(late, 0);
}

#[tokio::test(start_paused = true)]
async fn a_limited_rate_and_a_poll_in_flight_delay_no_end() {
    let mut setup = Setup::of(4);
    setup.limits.give_up_after = Some(Duration::from_secs(7));
    setup.throttle.max_requests_per_second = 1.0;
    setup.latency = Duration::from_secs(2);
    let (mut engine, _) = setup.engine(store::NoStore, |_, _| Err(error(ErrorKind::BadResponse)));
    let events = finish(&mut engine).await;
    let ends: Vec<u64> = events.iter().map(|(at, _)| at / 10).collect();
    // Seven seconds after each first response: the rate allows one request per second.
    assert_eq!(ends, [900, 1000, 1100, 1200]);
}

#[tokio::test(start_paused = true)]
async fn a_passing_refusal_ends_nothing() {
    let setup = Setup::of(1);
    let (mut engine, _) = setup.engine(store::NoStore, |now, _| match now {
        10_000..30_000 => Err(error(ErrorKind::Unauthorized)),
        _ => running((now / 1000).min(100) as f32),
    });
    let events = finish(&mut engine).await;
    assert_eq!(types(&events).last(), Some(&"job.completed"));
}
