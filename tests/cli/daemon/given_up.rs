//! Deliveries that were given up: more of them than the daemon should ever hold in memory.

use forgewatch::hooks::payload::EventPayload;
use forgewatch::store::{AddedBy, Archive, Commit, SavedWatch, Sqlite, Store};
use forgewatch_core::delivery::{DeliveryChange, DeliveryFailure, DeliveryId, DeliveryRow};
use forgewatch_core::event::{Event, EventFields, EventId, EventType, WatchId};
use serde_json::Value;

use super::{Home, hook};

/// As many as the watch has events.
const MANY: u32 = 300;

/// The event number `seq` of a watch that ended long ago.
fn event(seq: u32) -> Event {
    let watch = WatchId([0xa5; 16]);
    Event {
        id: EventId { watch, seq },
        kind: EventType::StateChanged,
        wall_ms: 1_700_000_000_000 + i64::from(seq),
        job: Some("diff/1".parse().unwrap()),
        about: None,
        facts: EventFields::default(),
    }
}

fn delivery(seq: u32) -> DeliveryId {
    DeliveryId {
        event: event(seq).id,
        hook: "next".into(),
    }
}

/// Writes a state in which a hook was dead for long.
async fn write_state(home: &Home) {
    let (store, _) = Sqlite::open(&home.path("state.db")).unwrap();
    let events: Vec<Event> = (1..=MANY).map(event).collect();
    let wanted = |event: &Event| {
        let body = EventPayload::of(event, "test").unwrap().body().to_owned();
        DeliveryRow::new(delivery(event.id.seq), body)
    };
    let watch = SavedWatch {
        id: event(1).id.watch,
        job: "diff/1".parse().unwrap(),
        row: "{}".to_owned(),
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
    let give_up = |seq| DeliveryChange::GiveUp {
        id: delivery(seq),
        why: DeliveryFailure::new("exit status 1"),
    };
    let changes: Vec<DeliveryChange> = (1..=MANY).map(give_up).collect();
    let all_of_them = Commit {
        changes: &changes,
        ..Commit::default()
    };
    store.commit(all_of_them).await.unwrap();
    store.close().await;
}

/// What is listed, as ids, and what is said aside.
fn list(home: &Home) -> (Vec<String>, String) {
    let done = home.client(&["hooks", "list", "--json"]).expect(0);
    let lines: Vec<Value> = serde_json::from_str(&done.stdout).unwrap();
    let id = |line: &Value| {
        assert_eq!(line["standing"], "given_up");
        line["id"].as_str().unwrap().to_owned()
    };
    (lines.iter().map(id).collect(), done.stderr)
}

#[tokio::test]
async fn any_number_of_deliveries_given_up_outlives_a_start_and_can_be_decided_about() {
    let home = Home::new("", "");
    let script = home.script("hook", "echo $FORGEWATCH_EVENT_ID >> told");
    home.configure(&hook("next", "'job.*'", &script, ""));
    write_state(&home).await;
    let mut daemon = home.start();

    let (ids, aside) = list(&home);
    let newest: Vec<String> = (45..=MANY).map(|seq| delivery(seq).to_string()).collect();
    assert_eq!(ids, newest);
    assert!(aside.starts_with("44 more are not shown"), "{aside}");

    // Those that are not shown can be decided about too.
    let (first, second) = (delivery(1).to_string(), delivery(2).to_string());
    home.client(&["hooks", "retry", &first]).expect(0);
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    assert_eq!(home.lines("told"), [event(1).id.to_string()]);
    home.client(&["hooks", "discard", &second]).expect(0);
    for decided in [&first, &second] {
        for what in ["retry", "discard"] {
            let refused = home.client(&["hooks", what, decided]).expect(1);
            assert!(refused.stderr.contains("was given up"), "{refused:?}");
        }
    }

    let done = home.client(&["hooks", "discard", "--all"]).expect(0);
    assert_eq!(done.stdout, "298 deliveries were discarded\n");
    let (ids, aside) = list(&home);
    assert!(ids.is_empty() && aside.is_empty(), "{ids:?} {aside}");
    let done = home.client(&["hooks", "discard", "--all"]).expect(0);
    assert_eq!(done.stdout, "0 deliveries were discarded\n");
    daemon.end("TERM");

    let (store, loaded) = Sqlite::open(&home.path("state.db")).unwrap();
    assert_eq!(loaded.deliveries, []);
    assert_eq!(store.given_up(1).await, Ok((Vec::new(), 0)));
    store.close().await;
}
