//! The real daemon, killed again and again at random moments, with a real state file and real hooks. Afterwards it runs
//! until all jobs have ended, and the checks in `evidence` look for anything lost or repeated.
//!
//! The environment variable `KILLS` sets how often; `KILLS_SEED` repeats the moments and the jobs of an earlier run, not
//! its timing.

use std::env;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use forgewatch_core::rng::SeededRng;
use forgewatch_sim::Script;
use serde_json::Value;

use super::evidence::Evidence;
use super::{DaemonFixture, DaemonProcess, hook, listed};

/// The daemon is killed within this time after its start, or after it was ready.
const MAX_LIFE: Duration = Duration::from_millis(300);
/// Jobs in the configuration; a client adds one more in every second life.
const LISTED: usize = 6;
/// Hooks that run at once, and so may be interrupted by one kill.
const RUNNING: usize = 4;

#[test]
fn killed_at_any_moment_the_daemon_loses_and_repeats_nothing() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let kills = number("KILLS").unwrap_or(40) as usize;
    let seed = number("KILLS_SEED").unwrap_or_else(|| getrandom::u64().unwrap());
    // To standard error, because the test harness captures the output of tests that pass or hang.
    let _ = writeln!(io::stderr(), "{kills} kills, KILLS_SEED={seed}");
    let mut rng = SeededRng::new(seed);
    let script = jobs(LISTED + kills.div_ceil(2), &mut rng);
    let expected = Script::parse(&script).unwrap().expected();
    let fixture = DaemonFixture::new(&script, "");
    let note = "echo $FORGEWATCH_EVENT_ID $FORGEWATCH_EVENT_TYPE $FORGEWATCH_ATTEMPT >> events.txt && sync -d events.txt";
    let hooks = hook(
        "note",
        "'job.*'",
        &fixture.script("note", note),
        &format!("max_running = {RUNNING}"),
    );
    let names: Vec<String> = expected.iter().map(|(job, _)| job.to_string()).collect();
    let (file, by_client) = names.split_at(LISTED);
    fixture.configure(&(file.iter().map(|name| listed(name)).collect::<String>() + &hooks));

    let mut to_add = by_client.iter();
    let mut unconfirmed = Vec::new();
    let mut printed = Vec::new();
    for life in 0..kills {
        let added = if life % 2 == 0 { to_add.next() } else { None };
        let (lines, confirmed) = run_until_killed(&fixture, MAX_LIFE.mul_f64(rng.uniform()), added);
        printed.extend(lines);
        unconfirmed.extend(added.filter(|_| !confirmed).map(String::as_str));
    }
    printed.extend(last_life(&fixture, &unconfirmed));

    let evidence = Evidence {
        events: fixture.recorded_events(),
        printed,
        hook_runs: fixture.lines("events.txt"),
    };
    let figures = evidence.check(&fixture.sim.server, &expected);
    let most = figures.events + RUNNING * kills;
    assert!(figures.executions <= most, "{figures:?}, {most} at most");
    let _ = writeln!(
        io::stderr(),
        "{kills} kills, {} watches: {} transitions, {} hook runs; none lost, repeated or out of order",
        expected.len(),
        figures.events,
        figures.executions,
    );
}

/// Jobs with several states and ten steps of progress, each longer than a few lives of the daemon.
fn jobs(count: usize, rng: &mut SeededRng) -> String {
    let endings = ["completed", "failed", "squashed", "progress_only"];
    (1..=count).fold(String::new(), |mut script, n| {
        let seconds = 1.0 + 3.0 * rng.uniform();
        let kind = ["diff", "update"][n % 2];
        let back = if n % 3 == 0 {
            "setbacks = [{ at = '500ms', for = '200ms', state = 'queued', progress = 10 }]"
        } else {
            ""
        };
        let _ = writeln!(
            script,
            "[[jobs]]\njob = '{kind}/{n}'\nduration = '{:.0}ms'\nqueued = '200ms'\nending = '{}'\n{back}",
            seconds * 1000.0,
            endings[n % endings.len()],
        );
        script
    })
}

/// One life of the daemon: start, maybe add a job, kill after `delay`. Returns what it printed, and whether it confirmed
/// the job.
fn run_until_killed(
    fixture: &DaemonFixture,
    delay: Duration,
    added: Option<&String>,
) -> (Vec<Value>, bool) {
    let daemon = match added {
        Some(_) => fixture.start(),
        None => DaemonProcess::spawn(fixture.command()),
    };
    let adding = added.map(|job| fixture.start_client(&["add", job]));
    // The only wait for a time instead of an event: the moment has to be random.
    thread::sleep(delay);
    let (status, lines) = daemon.stop("KILL");
    assert_eq!(status, None, "it ended by itself: {lines:#?}");
    let confirmed = adding.is_some_and(|adding| adding.wait().status == 0);
    (lines, confirmed)
}

/// The last life: adds the unconfirmed jobs again and waits until all jobs have ended.
fn last_life(fixture: &DaemonFixture, unconfirmed: &[&str]) -> Vec<Value> {
    let daemon = fixture.start_with("WATCHDOG_USEC", "400000");
    if !unconfirmed.is_empty() {
        let add = ["add"].into_iter().chain(unconfirmed.iter().copied());
        fixture.client(&add.collect::<Vec<_>>()).expect(0);
    }
    fixture.await_idle();
    let (status, lines) = daemon.stop("TERM");
    assert_eq!(status, Some(0));
    let state = fixture.path("state.db");
    fixture
        .client(&["state", "check", state.to_str().unwrap()])
        .expect(0);
    lines
}
