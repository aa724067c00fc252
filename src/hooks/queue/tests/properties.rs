//! All rules at once, on anything that can happen.

use proptest::prelude::*;

use super::*;
use forgewatch_core::rng::SeededRng;

/// What the world does.
#[derive(Clone, Debug)]
enum Move {
    Offer(u8),
    /// The n-th attempt under way ends like this: 0 well, 1 for good, else badly.
    End(usize, u8),
    Pass(u64),
    /// The n-th attempt under way could not be recorded.
    PutBack(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0u8..4).prop_map(Move::Offer),
        4 => (0usize..8, 0u8..5).prop_map(|(n, how)| Move::End(n, how)),
        2 => (0u64..400_000).prop_map(Move::Pass),
        1 => (0usize..8).prop_map(Move::PutBack),
    ];
    prop::collection::vec(one, 0..120)
}

/// Plays the moves, then delivers what is left. Returns all that happened, checked on the way.
fn play(moves: &[Move], seed: u64, retries: u32, max_running: usize) -> Vec<String> {
    let hooks = [
        hook("h", &["job.*"], retries, max_running),
        hook("i", &["job.*"], retries, 1),
    ];
    let mut queue = Queue::new(&hooks);
    let mut rng = SeededRng::new(seed);
    let (mut now, mut offered, mut trace) = (0, [0u32; 4], Vec::new());
    let mut running: Vec<DeliveryId> = Vec::new();
    let mut ended: BTreeMap<(Arc<str>, WatchId), Vec<u32>> = BTreeMap::new();
    let mut moves = moves.iter().cloned();
    loop {
        let next = match moves.next() {
            Some(next) => next,
            None if queue.is_idle() => break,
            None if running.is_empty() => Move::Pass(3_600_000),
            None => Move::End(0, 0),
        };
        match next {
            Move::Offer(watch) => {
                offered[usize::from(watch)] += 1;
                let told = told(watch, offered[usize::from(watch)], "job.progressed");
                offer(&mut queue, &told, at(now));
            }
            Move::Pass(ms) => now += ms,
            Move::PutBack(n) if n < running.len() => {
                queue.put_back(&running.remove(n), at(now + 1), None);
            }
            Move::End(n, how) if n < running.len() => {
                let id = running.remove(n);
                let attempt = match how {
                    0 => Attempt::Delivered,
                    1 => Attempt::Refused(DeliveryFailure::new("HTTP 410")),
                    _ => failure(),
                };
                let change = queue.settle(id.clone(), attempt, at(now), retry::ceiling, &mut rng);
                queue.apply(&change);
                trace.push(format!("{change:?}"));
                if !matches!(change, DeliveryChange::Wait { .. }) {
                    ended
                        .entry((id.hook, id.event.watch))
                        .or_default()
                        .push(id.event.seq);
                }
            }
            Move::PutBack(_) | Move::End(..) => {}
        }
        while let Some(change) = queue.begin(at(now)) {
            trace.push(format!("{change:?}"));
            let DeliveryChange::Begin { id, attempt } = change else {
                panic!("{change:?}");
            };
            assert!(attempt <= retries + 1, "{id} is tried too often");
            let same = |other: &&DeliveryId| other.hook == id.hook;
            let of_hook: Vec<&DeliveryId> = running.iter().filter(same).collect();
            assert!(
                of_hook.iter().all(|o| o.event.watch != id.event.watch),
                "two of one queue"
            );
            assert!(of_hook.len() < if &*id.hook == "h" { max_running } else { 1 });
            running.push(id);
        }
    }
    for watch in 0..4u8 {
        let all: Vec<u32> = (1..=offered[usize::from(watch)]).collect();
        for hook in ["h", "i"] {
            let of_queue = ended.remove(&(Arc::from(hook), WatchId([watch; 16])));
            assert_eq!(
                of_queue.unwrap_or_default(),
                all,
                "each ends once, in order"
            );
        }
    }
    trace
}

proptest! {
    #[test]
    fn every_delivery_ends_once_in_order_and_within_the_limits(
        moves in moves(), seed: u64, retries in 0u32..4, max_running in 1usize..4
    ) {
        let trace = play(&moves, seed, retries, max_running);
        prop_assert_eq!(play(&moves, seed, retries, max_running), trace, "the same seed, the same deliveries");
    }
}
