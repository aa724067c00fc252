//! Many lifetimes, one alone, and one twice.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::faults::{Counts, Fault};
use crate::lifetime::{Story, live};
use crate::world::Tracing;

/// Lifetimes, unless the environment says otherwise.
const LIFETIMES: u64 = 10_000;
/// With so many every fault has occurred.
const ENOUGH_FOR_ALL_FAULTS: u64 = 2_000;
/// The fewest kinds of faults that there have to be.
const FAULT_KINDS: usize = 25;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

#[derive(Default)]
struct Sums {
    lifetimes: u64,
    lives: u64,
    events: u64,
    deliveries: u64,
    counts: Counts,
    failures: Vec<String>,
}

impl Sums {
    fn take(&mut self, seed: u64, story: std::thread::Result<Story>) {
        self.lifetimes += 1;
        match story {
            Ok(story) => {
                self.lives += story.lives;
                self.events += story.events;
                self.deliveries += story.deliveries;
                self.counts.add(&story.counts);
                let first = story.violations.first();
                self.failures
                    .extend(first.map(|violation| format!("seed {seed}: {violation}")));
            }
            Err(_) => self.failures.push(format!("seed {seed}: a panic")),
        }
    }

    fn add(&mut self, other: Self) {
        self.lifetimes += other.lifetimes;
        self.lives += other.lives;
        self.events += other.events;
        self.deliveries += other.deliveries;
        self.counts.add(&other.counts);
        self.failures.extend(other.failures);
    }
}

#[test]
fn nothing_is_lost_told_twice_or_out_of_order_in_any_lifetime() {
    let lifetimes = number("FORGEWATCH_SIM_LIFETIMES").unwrap_or(LIFETIMES);
    let first = number("FORGEWATCH_SIM_FIRST").unwrap_or(0);
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let work = || {
        let mut sums = Sums::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + lifetimes {
                return sums;
            }
            sums.take(
                seed,
                catch_unwind(AssertUnwindSafe(|| live(seed, None, Tracing::Off))),
            );
        }
    };
    let mut sums = Sums::default();
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let working: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in working {
            sums.add(thread.join().unwrap());
        }
    });
    println!(
        "simulation: {} lifetimes, {} lives, {} crashes, {} events, {} deliveries in {:.1} s; faults: {}",
        sums.lifetimes,
        sums.lives,
        sums.counts.of(Fault::Crash),
        sums.events,
        sums.deliveries,
        began.elapsed().as_secs_f64(),
        sums.counts
    );
    let shown = sums
        .failures
        .iter()
        .take(20)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        sums.failures.is_empty(),
        "{} lifetimes broke a promise:\n{shown}\nreplay one with: FORGEWATCH_SIM_SEED=… cargo test --test simulation \
         replay -- --nocapture",
        sums.failures.len()
    );
    assert!(Fault::ALL.len() >= FAULT_KINDS);
    let missing: Vec<Fault> = Fault::ALL
        .into_iter()
        .filter(|&f| sums.counts.of(f) == 0)
        .collect();
    assert!(
        lifetimes < ENOUGH_FOR_ALL_FAULTS || missing.is_empty(),
        "never occurred: {missing:?}"
    );
}

#[test]
fn replay() {
    let Some(seed) = number("FORGEWATCH_SIM_SEED") else {
        return;
    };
    let story = live(seed, None, Tracing::Printed);
    let broken: Vec<String> = story.violations.iter().map(ToString::to_string).collect();
    assert!(broken.is_empty(), "seed {seed}:\n{}", broken.join("\n"));
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 0..50 {
        let hash = || live(seed, None, Tracing::Hashed).trace_hash;
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}
