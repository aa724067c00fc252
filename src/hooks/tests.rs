//! The shell around the queue, with a record that breaks.

use std::cell::Cell;
use std::rc::Rc;

use super::tests_support::{event, hook};
use super::*;
use crate::config::settings::HookAction;
use crate::core::event::WatchId;
use crate::engine::SystemClock;

/// Takes events and beginnings and nothing after them; counts what it refused.
#[derive(Clone)]
struct Broken(Rc<Cell<u32>>);

impl Store for Broken {
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        let begins = |change: &Change| matches!(change, Change::Begin { .. });
        if commit.changes.iter().all(begins) {
            return Ok(());
        }
        self.0.set(self.0.get() + 1);
        Err(StoreError::Full("no space left".to_owned()))
    }

    fn note(&self, _: crate::store::Note) {}
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_where_nothing_can_be_recorded_any_more() {
    let refused = Rc::new(Cell::new(0));
    let mut spec = hook("h", &["job.*"], 0, 1);
    // Nobody is there.
    spec.action = HookAction::Webhook {
        url: "http://127.0.0.1:1/".parse().unwrap(),
        secrets: Vec::new(),
    };
    let record = Broken(Rc::clone(&refused));
    let clock = SystemClock::start();
    let outbox = Outbox::new(record, clock, "test");
    let voice = Rc::new(Voice::new(WatchId([1; 16]), clock));
    let specs = [spec];
    let actions = Actions::new(&specs, None).unwrap();
    let dice = SeededDice::new(1);
    let mut hooks = Hooks::new(&specs, actions, outbox.clone(), voice, clock, dice);
    let commit = Commit {
        events: &[event(1, "job.failed")],
        ..Commit::default()
    };
    outbox.commit(commit).await.unwrap();
    while refused.get() < 2 {
        tokio::select! {
            told = hooks.advance() => assert_eq!(told.unwrap(), [], "nothing is true before it is recorded"),
            () = sleep(Duration::from_millis(100)) => {}
        }
    }
    let stopped = tokio::time::timeout(Duration::from_mins(1), hooks.stop()).await;
    assert!(stopped.is_ok(), "it tries for ever");
    assert!(
        !hooks.is_idle(),
        "the attempt is made again after the start"
    );
}
