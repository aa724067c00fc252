//! The API as a whole, or one job, cannot be asked.

use super::*;

#[tokio::test(start_paused = true)]
async fn while_the_api_is_down_only_a_probe_asks_and_the_return_is_gentle() {
    let mut bench = Bench::of(300);
    bench.limits.give_up_after = None;
    let (mut engine, seen) = bench.engine(store::NoStore, |now, _| match now {
        0..60_000 => running(1.0),
        60_000..660_000 => Err(error(ErrorKind::Server)),
        660_000..1_200_000 => running(2.0),
        _ => running(100.0),
    });
    let told = finish(&mut engine).await;
    let seconds = seen.per_second(1_400);
    // Five seconds without a success it takes to be sure.
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
    let count = |name| types(&told).iter().filter(|&&t| t == name).count();
    assert_eq!(
        count("job.unreachable"),
        300,
        "each is told, though few asked"
    );
    assert_eq!((count("job.reachable"), count("job.completed")), (300, 300));
}

#[tokio::test(start_paused = true)]
async fn a_one_shot_gives_all_of_them_up_though_only_a_probe_asks() {
    let (mut engine, seen) =
        Bench::of(40).engine(store::NoStore, |_, _| Err(error(ErrorKind::Connect)));
    let told = finish(&mut engine).await;
    assert_eq!(
        types(&told).iter().filter(|&&t| t == "job.gave_up").count(),
        40
    );
    assert!(
        seen.requests.borrow().len() < 100,
        "{}",
        seen.requests.borrow().len()
    );
    assert!(told.iter().all(|(at, _)| *at <= 610_000));
}

#[tokio::test(start_paused = true)]
async fn one_job_that_fails_among_others_slows_nobody() {
    let (mut engine, seen) = Bench::of(9).engine(store::NoStore, |now, job| {
        if job.id.get() == 1 {
            Err(error(ErrorKind::Server))
        } else {
            running((now / 1000) as f32)
        }
    });
    let told = finish(&mut engine).await;
    assert_eq!(
        types(&told)
            .iter()
            .filter(|&&t| t == "job.completed")
            .count(),
        8
    );
    assert_eq!(types(&told).last(), Some(&"job.gave_up"));
    let asked = |id| {
        seen.requests
            .borrow()
            .iter()
            .filter(|(_, j)| j.id.get() == id)
            .count()
    };
    assert!(asked(2) > 2 && asked(1) < 40, "{} {}", asked(2), asked(1));
}

#[tokio::test(start_paused = true)]
async fn a_probe_asks_for_no_job_that_the_server_wants_left_alone() {
    let mut bench = Bench::of(3);
    bench.limits.give_up_after = None;
    // Two jobs are to be left alone for half an hour each time; the third may ask for all.
    let (mut engine, seen) = bench.engine(store::NoStore, |now, job| match job.id.get() {
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
        let requests = seen.requests.borrow();
        let asked: Vec<u64> = requests
            .iter()
            .filter(|(_, j)| j.id.get() == id)
            .map(|(at, _)| *at)
            .collect();
        assert!(asked.is_sorted_by(|a, b| b - a >= 1_800_000), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_maintenance_page_slows_the_return_no_more_than_any_outage() {
    let mut bench = Bench::of(300);
    bench.limits.give_up_after = None;
    let (mut engine, seen) = bench.engine(store::NoStore, |now, _| match now {
        60_000..660_000 => Err(PollError {
            http_status: Some(503),
            // The page is there a while after the servers have gone.
            retry_after: (now > 80_000).then_some(Duration::from_secs(20)),
            ..error(ErrorKind::Server)
        }),
        _ => running(1.0),
    });
    run_until(&mut engine, 1_200_000).await;
    let seconds = seen.per_second(1_200);
    let usual: usize = seconds[20..50].iter().sum();
    let back = seconds[660..].iter().position(|&n| n > 1).unwrap() + 660;
    let after: usize = seconds[back + 10..back + 20].iter().sum();
    assert!(
        after * 3 * 2 > usual,
        "{after} in ten seconds, {usual} in thirty before"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shorter_longest_interval_holds_from_the_reload_on() {
    let mut bench = Bench::of(1);
    bench.limits.schedule.max_interval = Duration::from_hours(24);
    let (limits, throttle) = (bench.limits.clone(), bench.throttle);
    let eta = |now: u64| EPOCH_S + (now / 1000).cast_signed() + 80_000;
    let answer = move |now, _| {
        running(0.0).map(|status| Status {
            eta: Some(eta(now)),
            ..status
        })
    };
    let (mut engine, seen) = bench.engine(store::NoStore, answer);
    run_until(&mut engine, 7_200_000).await;
    let before = seen.requests.borrow().len();
    let wait = engine.watches().next().unwrap().next_poll(engine.now());
    assert!(wait > Duration::from_mins(2), "{wait:?}");
    let api = World {
        start: Instant::now(),
        latency: Duration::ZERO,
        seen: Rc::clone(&seen),
        answer,
    };
    let mut shorter = limits;
    shorter.schedule.max_interval = Duration::from_mins(1);
    engine.configure(api, shorter, throttle);
    run_until(&mut engine, 7_265_000).await;
    assert!(seen.requests.borrow().len() > before);
}
