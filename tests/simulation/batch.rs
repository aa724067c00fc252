//! Runs many lifetimes, replays one, and tests that seeds are reproducible.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::faults::{Fault, FaultCounts};
use crate::lifetime::{LifetimeReport, run_lifetime};
use crate::world::TraceMode;

/// The default number of lifetimes.
const LIFETIMES: u64 = 10_000;
/// With so many lifetimes, every fault must have occurred.
const ENOUGH_FOR_ALL_FAULTS: u64 = 2_000;
const MIN_FAULT_KINDS: usize = 25;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
    )
}

#[derive(Default)]
struct Totals {
    lifetimes: u64,
    processes: u64,
    events: u64,
    deliveries: u64,
    counts: FaultCounts,
    failures: Vec<String>,
}

impl Totals {
    fn add_lifetime(&mut self, seed: u64, report: std::thread::Result<LifetimeReport>) {
        self.lifetimes += 1;
        match report {
            Ok(report) => {
                self.processes += report.processes;
                self.events += report.events;
                self.deliveries += report.deliveries;
                self.counts.add(&report.counts);
                let first = report.violations.first();
                self.failures
                    .extend(first.map(|violation| format!("seed {seed}: {violation}")));
            }
            Err(_) => self.failures.push(format!("seed {seed}: a panic")),
        }
    }

    fn add(&mut self, other: Self) {
        self.lifetimes += other.lifetimes;
        self.processes += other.processes;
        self.events += other.events;
        self.deliveries += other.deliveries;
        self.counts.add(&other.counts);
        self.failures.extend(other.failures);
    }
}

#[test]
fn no_lifetime_breaks_a_rule() {
    let lifetimes = number("FORGEWATCH_SIM_LIFETIMES").unwrap_or(LIFETIMES);
    let first = number("FORGEWATCH_SIM_FIRST").unwrap_or(0);
    let began = Instant::now();
    let totals = run_lifetimes(first..first + lifetimes);
    println!(
        "simulation: {} lifetimes, {} processes, {} crashes, {} events, {} deliveries in {:.1} s; faults: {}",
        totals.lifetimes,
        totals.processes,
        totals.counts.of(Fault::Crash),
        totals.events,
        totals.deliveries,
        began.elapsed().as_secs_f64(),
        totals.counts
    );
    let shown = &totals.failures[..totals.failures.len().min(20)];
    assert!(
        totals.failures.is_empty(),
        "{} lifetimes broke a rule:\n{}\nreplay one with: FORGEWATCH_SIM_SEED=… cargo test --test simulation \
         replay -- --nocapture",
        totals.failures.len(),
        shown.join("\n")
    );
    assert!(Fault::ALL.len() >= MIN_FAULT_KINDS);
    let missing: Vec<Fault> = Fault::ALL
        .into_iter()
        .filter(|&f| totals.counts.of(f) == 0)
        .collect();
    assert!(
        lifetimes < ENOUGH_FOR_ALL_FAULTS || missing.is_empty(),
        "never occurred: {missing:?}"
    );
}

/// Runs the lifetimes of these seeds on all cores.
fn run_lifetimes(seeds: Range<u64>) -> Totals {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut totals = Totals::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                return totals;
            }
            let lifetime = AssertUnwindSafe(|| run_lifetime(seed, None, TraceMode::Off));
            totals.add_lifetime(seed, catch_unwind(lifetime));
        }
    };
    let mut totals = Totals::default();
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in workers {
            totals.add(thread.join().unwrap());
        }
    });
    totals
}

#[test]
fn replay() {
    let Some(seed) = number("FORGEWATCH_SIM_SEED") else {
        return;
    };
    let report = run_lifetime(seed, None, TraceMode::Printed);
    let broken: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(broken.is_empty(), "seed {seed}:\n{}", broken.join("\n"));
}

#[test]
fn a_seed_always_gives_the_same_trace() {
    for seed in 0..100 {
        let hash = || run_lifetime(seed, None, TraceMode::Hashed).trace_hash;
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}
