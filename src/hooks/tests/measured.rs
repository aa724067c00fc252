//! What is measured: attempts, deliveries, and the time without disk space.

use super::*;

#[tokio::test(start_paused = true)]
async fn attempts_and_deliveries_are_counted_as_they_go() {
    let store = FakeStore::default();
    let attempt = FixedExecutor(Duration::from_secs(3), AttemptResult::Delivered);
    let mut dispatcher = dispatcher_with(attempt, store.clone());
    let events: Vec<Event> = (1..=2).map(|seq| event(seq, "job.failed")).collect();
    commit_events(&dispatcher, &events).await;
    let open = |pending, running| DeliveryCounts {
        pending,
        running,
        ..DeliveryCounts::default()
    };
    assert_eq!(dispatcher.delivery_counts(), open(2, 0));
    let committed = || store.committed().iter().any(|change| change == "1 begin");
    advance_until(&mut dispatcher, committed).await;
    assert_eq!(dispatcher.delivery_counts(), open(1, 1));
    while !dispatcher.is_idle() {
        dispatcher.advance().await.unwrap();
    }
    let counted = DeliveryCounts {
        delivered_total: 2,
        ..DeliveryCounts::default()
    };
    assert_eq!(dispatcher.delivery_counts(), counted);
    let attempts = dispatcher.measured()["h"].clone();
    assert_eq!(
        (attempts.delivered.count(), attempts.failed.count()),
        (2, 0)
    );
    assert!((attempts.delivered.sum() - 6.0).abs() < 0.1);
    dispatcher.configure(&[], FixedExecutor(Duration::ZERO, AttemptResult::Delivered));
    assert!(
        dispatcher.measured().is_empty(),
        "a removed hook has no label"
    );
}

#[tokio::test(start_paused = true)]
async fn the_time_without_disk_space_is_measured_while_it_lasts() {
    let store = FakeStore::default();
    let mut dispatcher = with_pending(&[1], rejected(), &store).await;
    let disk_full = |dispatcher: &Dispatcher<_, _, _>| dispatcher.outbox.commits().disk_full;
    assert_eq!(disk_full(&dispatcher), Duration::ZERO);
    store.0.is_full.set(true);
    advance_until(&mut dispatcher, || store.0.rejected.get() >= 1).await;
    let began = Instant::now();
    let until = |seconds| sleep_until(began + Duration::from_secs(seconds));
    while began.elapsed() < Duration::from_secs(30) {
        tokio::select! {
            events = dispatcher.advance() => assert_eq!(events.unwrap(), []),
            () = until(30) => {}
        }
    }
    let during = disk_full(&dispatcher);
    assert!(
        during.abs_diff(Duration::from_secs(30)) <= Duration::from_secs(1),
        "{during:?}"
    );
    store.0.is_full.set(false);
    dispatcher.advance().await.unwrap();
    let after = disk_full(&dispatcher);
    sleep_until(Instant::now() + Duration::from_mins(5)).await;
    assert_eq!(disk_full(&dispatcher), after, "it is over");
    assert!(after >= during);
    assert!(dispatcher.outbox.commits().duration.count() >= 2);
}
