//! More failed deliveries than the daemon keeps in memory.

use forgewatch::store::{AddedBy, Commit, DaemonStore, SavedWatch, SqliteStore, Store};
use forgewatch_core::delivery::EventPayload;
use forgewatch_core::delivery::{DeliveryChange, DeliveryFailure, DeliveryId, DeliveryRow};
use forgewatch_core::event::{Event, EventFields, EventId, EventType, WatchId};
use serde_json::Value;

use super::{DaemonFixture, hook};

const MANY: u32 = 300;

/// An event of a watch that ended long ago.
fn event(seq: u32) -> Event {
    let watch = WatchId([0xa5; 16]);
    Event {
        id: EventId { watch, seq },
        kind: EventType::StateChanged,
        wall_ms: 1_700_000_000_000 + i64::from(seq),
        job: Some("diff/1".parse().unwrap()),
        meta: None,
        fields: EventFields::default(),
    }
}

fn delivery(seq: u32) -> DeliveryId {
    DeliveryId {
        event: event(seq).id,
        hook: "next".into(),
    }
}

/// Writes a state after a hook has failed for a long time.
async fn write_state(fixture: &DaemonFixture) {
    let (store, _) = SqliteStore::open(&fixture.path("state.db")).unwrap();
    let events: Vec<Event> = (1..=MANY).map(event).collect();
    let wanted = |event: &Event| {
        let body = EventPayload::of(event, "test").unwrap().body().to_owned();
        DeliveryRow::new(delivery(event.id.seq), body)
    };
    let watch = SavedWatch {
        id: event(1).id.watch,
        job: "diff/1".parse().unwrap(),
        seq: MANY,
        labels: "{}".to_owned(),
        snapshot: "{}".to_owned(),
        ended_wall_ms: Some(1_700_000_001_000),
        added_by: AddedBy::default(),
    };
    let made = Commit {
        watch: Some(watch),
        deliveries: events.iter().map(wanted).collect(),
        events: &events,
        ..Commit::default()
    };
    store.commit(made).await.unwrap();
    let fail = |seq| DeliveryChange::Fail {
        id: delivery(seq),
        why: DeliveryFailure::new("exit status 1"),
    };
    let changes: Vec<DeliveryChange> = (1..=MANY).map(fail).collect();
    let all_of_them = Commit {
        changes: &changes,
        ..Commit::default()
    };
    store.commit(all_of_them).await.unwrap();
    store.close().await;
}

/// The listed ids, and standard error.
fn list(fixture: &DaemonFixture) -> (Vec<String>, String) {
    let done = fixture.client(&["hooks", "list", "--json"]).expect(0);
    let lines: Vec<Value> = serde_json::from_str(&done.stdout).unwrap();
    let id = |line: &Value| {
        assert_eq!(line["state"], "failed");
        line["id"].as_str().unwrap().to_owned()
    };
    (lines.iter().map(id).collect(), done.stderr)
}

#[tokio::test]
async fn any_number_of_failed_deliveries_survives_a_restart_and_can_be_retried_or_discarded() {
    let fixture = DaemonFixture::new("", "");
    let script = fixture.script("hook", "echo $FORGEWATCH_EVENT_ID >> events.txt");
    fixture.configure(&hook("next", "'job.*'", &script, ""));
    write_state(&fixture).await;
    let mut daemon = fixture.start();

    let (ids, warning) = list(&fixture);
    let newest: Vec<String> = (45..=MANY).map(|seq| delivery(seq).to_string()).collect();
    assert_eq!(ids, newest);
    assert!(warning.starts_with("44 more not shown"), "{warning}");

    // Deliveries beyond those listed can be retried and discarded too.
    let (first, second) = (delivery(1).to_string(), delivery(2).to_string());
    fixture.client(&["hooks", "retry", &first]).expect(0);
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    assert_eq!(fixture.lines("events.txt"), [event(1).id.to_string()]);
    fixture.client(&["hooks", "discard", &second]).expect(0);
    for settled in [&first, &second] {
        for what in ["retry", "discard"] {
            let rejected = fixture.client(&["hooks", what, settled]).expect(1);
            assert!(
                rejected.stderr.contains("no failed delivery"),
                "{rejected:?}"
            );
        }
    }

    let done = fixture.client(&["hooks", "discard", "--all"]).expect(0);
    assert_eq!(done.stdout, "discarded 298 deliveries\n");
    let (ids, warning) = list(&fixture);
    assert!(ids.is_empty() && warning.is_empty(), "{ids:?} {warning}");
    let done = fixture.client(&["hooks", "discard", "--all"]).expect(0);
    assert_eq!(done.stdout, "discarded 0 deliveries\n");
    daemon.stop("TERM");

    let (store, _) = SqliteStore::open(&fixture.path("state.db")).unwrap();
    let of_watch = store.deliveries_of(event(1).id.watch).await.unwrap();
    assert!(of_watch.iter().all(|row| !row.state.is_open()));
    assert_eq!(store.failed_deliveries(1).await, Ok((Vec::new(), 0)));
    store.close().await;
}
