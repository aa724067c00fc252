//! 500 polls per second and 100 hooks per minute: polls are on time, memory stays, the watchdog is fed.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;

use forgewatch_sim::{LoggedRequest, Script, Server};

use crate::daemon::{INTERVAL_MS, JOBS, Usage, WARM_UP, WATCHDOG, gaps, jobs, start};
use crate::load;

/// Between the ends of two jobs, each of which runs a hook.
const END_INTERVAL_MS: u64 = 600;
const MAX_MEMORY_KIB: u64 = 64 << 10;
const MAX_GROWTH_KIB: u64 = 4 << 10;
const MAX_P99_MS: u64 = 250;

#[test]
fn ten_thousand_jobs_are_polled_on_time_in_little_memory() {
    let Some(load) = load() else { return };
    let ends = u64::try_from(load.as_millis()).unwrap() / END_INTERVAL_MS;
    let server =
        Server::start(Script::parse(&jobs(ends, WARM_UP, END_INTERVAL_MS)).unwrap()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let (daemon, alive) = start(home.path(), &server.base_url(), None);
    let from = server.log().len();
    let (before, hooks, beats) = (
        Usage::of(&daemon),
        delivered(home.path()),
        alive.load(Ordering::Relaxed),
    );
    thread::sleep(load);
    let (after, beats) = (Usage::of(&daemon), alive.load(Ordering::Relaxed) - beats);
    let hooks = delivered(home.path()) - hooks;

    let log = server.log();
    let polls = log.len() - from;
    let late = lateness(&log, from);
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    let (p50, p99, worst) = (at(0.5), at(0.99), at(1.0));
    let share = |ticks: u64| ticks as f64 / load.as_secs_f64();
    let _ = writeln!(
        io::stderr(),
        "{JOBS} jobs for {load:?}: {:.0} polls/s, {:.0} hooks/min; late by {p50} ms (p50), {p99} ms (p99), {worst} ms \
         (worst); RSS {} KiB, then {} KiB, {} KiB at most; processor: main {:.1} %, store {:.1} %; {beats} watchdog notifications",
        polls as f64 / load.as_secs_f64(),
        hooks as f64 * 60.0 / load.as_secs_f64(),
        before.rss_kib,
        after.rss_kib,
        after.peak_kib,
        share(after.main - before.main),
        share(after.store - before.store),
    );
    assert!(polls as f64 > 450.0 * load.as_secs_f64(), "{polls} polls");
    assert!(
        hooks as f64 > 80.0 * load.as_secs_f64() / 60.0,
        "{hooks} hooks"
    );
    assert!(p99 < MAX_P99_MS, "p99 of lateness: {p99} ms");
    assert!(after.peak_kib < MAX_MEMORY_KIB, "{} KiB", after.peak_kib);
    let grown = after.rss_kib.saturating_sub(before.rss_kib);
    assert!(grown < MAX_GROWTH_KIB, "grew by {grown} KiB");
    // The watchdog notification waits until the store has written everything before it.
    let due = load.as_secs_f64() / (WATCHDOG.as_secs_f64() / 2.0);
    assert!(
        beats as f64 > 0.8 * due,
        "{beats} of {due} watchdog notifications"
    );
    assert!(
        share(after.store - before.store) < 50.0,
        "the store is the limit"
    );
}

fn delivered(home: &Path) -> usize {
    let jobs = fs::read_to_string(home.join("delivered"));
    jobs.map_or(0, |text| text.lines().count())
}

/// Lateness of the polls from the `from`-th request on, in milliseconds, sorted; includes the response time.
pub(crate) fn lateness(log: &[LoggedRequest], from: usize) -> Vec<u64> {
    let gaps = gaps(log, from).into_iter();
    let mut late: Vec<u64> = gaps.map(|gap| gap.saturating_sub(INTERVAL_MS)).collect();
    late.sort_unstable();
    late
}
