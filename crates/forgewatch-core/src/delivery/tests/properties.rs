//! All rules together, for random sequences of operations.

use proptest::prelude::*;

use super::*;
use crate::rng::SeededRng;

#[derive(Clone, Debug)]
enum Operation {
    Add(u8),
    /// The n-th running attempt ends: 0 delivered, 1 rejected, else failed.
    End(usize, u8),
    Advance(u64),
    /// The beginning of the n-th attempt could not be committed.
    Requeue(usize),
    /// The n-th attempt is interrupted, as by a shutdown that waits for it.
    Interrupt(usize),
    /// A crash interrupts all attempts; what is stored is loaded again.
    Restart,
}

/// What is stored, in the order of creation. Checks that every change is possible.
#[derive(Default)]
struct Stored(Vec<DeliveryRow>);

impl Stored {
    fn add(&mut self, event: &Event, hooks: &[&str]) {
        let body = EventPayload::of(event, "test").unwrap().body().to_owned();
        for &hook in hooks {
            let id = DeliveryId {
                event: event.id,
                hook: hook.into(),
            };
            self.0.push(DeliveryRow::new(id, body.clone()));
        }
    }

    fn apply(&mut self, change: &DeliveryChange) {
        let row = self.0.iter_mut().find(|row| row.id == *change.id());
        row.unwrap().apply(change).unwrap();
    }

    fn load(&self, hooks: &[HookRules], now: Moment) -> Queue {
        let mut queue = Queue::new(hooks);
        for row in &self.0 {
            queue.load(row.clone(), now).unwrap();
        }
        queue
    }
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let one = prop_oneof![
        3 => (0u8..4).prop_map(Operation::Add),
        4 => (0usize..8, 0u8..5).prop_map(|(n, result)| Operation::End(n, result)),
        2 => (0u64..400_000).prop_map(Operation::Advance),
        1 => (0usize..8).prop_map(Operation::Requeue),
        1 => (0usize..8).prop_map(Operation::Interrupt),
        1 => Just(Operation::Restart),
    ];
    prop::collection::vec(one, 0..120)
}

/// Applies the operations, then delivers the rest. Checks the limits on the way and returns all changes.
fn run(operations: &[Operation], seed: u64, retries: u32, max_running: usize) -> Vec<String> {
    let hooks = [
        hook("h", &["job.*"], retries, max_running),
        hook("i", &["job.*"], retries, 1),
    ];
    let mut queue = Queue::new(&hooks);
    let mut rng = SeededRng::new(seed);
    let (mut now, mut added, mut trace) = (0, [0u32; 4], Vec::new());
    let mut running: Vec<DeliveryId> = Vec::new();
    let mut stored = Stored::default();
    let mut failures: BTreeMap<DeliveryId, u32> = BTreeMap::new();
    let mut ended: BTreeMap<(Arc<str>, WatchId), Vec<u32>> = BTreeMap::new();
    let mut operations = operations.iter().cloned();
    loop {
        let next = match operations.next() {
            Some(next) => next,
            None if queue.is_idle() => break,
            None if running.is_empty() => Operation::Advance(3_600_000),
            None => Operation::End(0, 0),
        };
        match next {
            Operation::Add(watch) => {
                added[usize::from(watch)] += 1;
                let event = event_of(watch, added[usize::from(watch)], "job.progressed");
                stored.add(&event, &["h", "i"]);
                add_event_for(&["h", "i"], &mut queue, &event, at(now));
            }
            Operation::Advance(ms) => now += ms,
            Operation::Requeue(n) if n < running.len() => {
                queue.requeue(&running.remove(n), at(now + 1), None);
            }
            Operation::Interrupt(n) if n < running.len() => {
                let why = DeliveryFailure::new("interrupted");
                queue.requeue(&running.remove(n), at(now), Some(why));
            }
            Operation::Restart => {
                running.clear();
                queue = stored.load(&hooks, at(now));
            }
            Operation::End(n, result) if n < running.len() => {
                let id = running.remove(n);
                let attempt = match result {
                    0 => AttemptResult::Delivered,
                    1 => AttemptResult::Rejected(DeliveryFailure::new("HTTP 410")),
                    _ => failure(),
                };
                let backoff = |failures| retry::wait(failures, retry::MAX, &mut rng);
                let change = queue.settle(id.clone(), attempt, at(now), backoff).change;
                let failed = failures.entry(id.clone()).or_default();
                *failed += u32::from(result > 1);
                let is_used_up = result == 1 || *failed > retries;
                let has_failed = matches!(change, DeliveryChange::Fail { .. });
                assert_eq!(has_failed, result > 0 && is_used_up, "{change:?}");
                stored.apply(&change);
                queue.apply(&change);
                trace.push(format!("{change:?}"));
                if !matches!(change, DeliveryChange::Reschedule { .. }) {
                    ended
                        .entry((id.hook, id.event.watch))
                        .or_default()
                        .push(id.event.seq);
                }
            }
            Operation::Requeue(_) | Operation::Interrupt(_) | Operation::End(..) => {}
        }
        while let Some(attempt) = queue.begin(at(now)) {
            stored.apply(&attempt.begin());
            let Attempt { id, number, .. } = attempt;
            trace.push(format!("{id}#{number}"));
            let before = failures.get(&id).copied().unwrap_or(0);
            assert!(
                before <= retries && before < number,
                "{id}: {before} failed"
            );
            let same_hook = |other: &&DeliveryId| other.hook == id.hook;
            let of_hook: Vec<&DeliveryId> = running.iter().filter(same_hook).collect();
            assert!(
                of_hook.iter().all(|o| o.event.watch != id.event.watch),
                "two of one lane"
            );
            assert!(of_hook.len() < if &*id.hook == "h" { max_running } else { 1 });
            running.push(id);
        }
    }
    for watch in 0..4u8 {
        let all: Vec<u32> = (1..=added[usize::from(watch)]).collect();
        for hook in ["h", "i"] {
            let of_lane = ended.remove(&(Arc::from(hook), WatchId([watch; 16])));
            assert_eq!(of_lane.unwrap_or_default(), all, "each ends once, in order");
        }
    }
    trace
}

proptest! {
    #[test]
    fn every_delivery_ends_once_in_order_and_within_the_limits(
        operations in operations(), seed: u64, retries in 0u32..4, max_running in 1usize..4
    ) {
        let trace = run(&operations, seed, retries, max_running);
        prop_assert_eq!(run(&operations, seed, retries, max_running), trace, "the same seed gives the same deliveries");
    }
}
