//! The real daemon, killed again and again at whatever moment it happens to be in, with a real state file and real
//! hooks. Afterwards it runs undisturbed until all is over, and a checker looks for what was lost or done twice. It
//! reads only what the simulator logged of what it served, what the hook wrote down, and what `forgewatch events` says.
//!
//! `KILLS` in the environment sets how often, `KILLS_SEED` repeats the moments and the jobs of an earlier run (not what
//! the machine makes of them).

use std::env;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use forgewatch_core::rng::SeededRng;
use forgewatch_core::watch::Rng;
use forgewatch_sim::Script;
use serde_json::Value;

use super::evidence::Evidence;
use super::{Daemon, Home, hook, listed};

/// A life ends within this time after it began, or after it was ready.
const LONGEST_LIFE: Duration = Duration::from_millis(300);
/// Jobs that the configuration lists; one more is added by a client in every second life.
const LISTED: usize = 6;
/// How many hooks run at once, and so may be cut off by one kill.
const RUNNING: usize = 4;

#[test]
fn killed_at_any_moment_it_loses_nothing_and_tells_nothing_twice() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let kills = number("KILLS").unwrap_or(40) as usize;
    let seed = number("KILLS_SEED").unwrap_or_else(|| getrandom::u64().unwrap());
    // Past the harness, which keeps the output of what passes and of what hangs.
    let _ = writeln!(io::stderr(), "{kills} kills, KILLS_SEED={seed}");
    let mut rng = SeededRng::new(seed);
    let script = jobs(LISTED + kills.div_ceil(2), &mut rng);
    let expected = Script::parse(&script).unwrap().expected();
    let home = Home::new(&script, "");
    let note = "echo $FORGEWATCH_EVENT_ID $FORGEWATCH_EVENT_TYPE $FORGEWATCH_ATTEMPT >> told && sync -d told";
    let hooks = hook(
        "note",
        "'job.*'",
        &home.script("note", note),
        &format!("max_running = {RUNNING}"),
    );
    let names: Vec<String> = expected.iter().map(|(job, _)| job.to_string()).collect();
    let (file, by_client) = names.split_at(LISTED);
    home.configure(&(file.iter().map(|name| listed(name)).collect::<String>() + &hooks));

    let mut to_add = by_client.iter();
    let mut unanswered = Vec::new();
    let mut printed = Vec::new();
    for life in 0..kills {
        let added = if life % 2 == 0 { to_add.next() } else { None };
        let (lines, answered) = live(&home, LONGEST_LIFE.mul_f64(rng.roll()), added);
        printed.extend(lines);
        unanswered.extend(added.filter(|_| !answered).map(String::as_str));
    }
    printed.extend(undisturbed(&home, &unanswered));

    let evidence = Evidence {
        events: home.remembered(),
        printed,
        told: home.lines("told"),
    };
    let figures = evidence.check(&home.stage.server, &expected);
    let most = figures.events + RUNNING * kills;
    assert!(figures.executions <= most, "{figures:?}, {most} at most");
    let _ = writeln!(
        io::stderr(),
        "{kills} kills, {} watches: {} transitions, {} hooks run for them; none lost, none told twice, none out of \
         order",
        expected.len(),
        figures.events,
        figures.executions,
    );
}

/// The simulator's jobs: each runs through several states and ten steps of progress, across several lives.
fn jobs(count: usize, rng: &mut SeededRng) -> String {
    let endings = ["completed", "failed", "squashed", "progress_only"];
    (1..=count).fold(String::new(), |mut script, n| {
        let seconds = 1.0 + 3.0 * rng.roll();
        let kind = ["diff", "update"][n % 2];
        let back = if n % 3 == 0 {
            "set_back = [{ at = '500ms', for = '200ms', to_state = 'queued', progress = 10 }]"
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

/// One life: started, given a job where there is one, killed after `delay`. Returns what it printed, and whether it said
/// that it watches the job.
fn live(home: &Home, delay: Duration, added: Option<&String>) -> (Vec<Value>, bool) {
    let daemon = match added {
        Some(_) => home.start(),
        None => Daemon::spawn(home.command()),
    };
    let adding = added.map(|job| home.start_client(&["add", job]));
    // The one thing that has to happen at a moment which nothing announces.
    thread::sleep(delay);
    let (status, lines) = daemon.end("KILL");
    assert_eq!(status, None, "it ended by itself: {lines:#?}");
    let answered = adding.is_some_and(|adding| adding.wait().status == 0);
    (lines, answered)
}

/// The last life: what nobody was told is watched is added once more, and all comes to its end.
fn undisturbed(home: &Home, unanswered: &[&str]) -> Vec<Value> {
    let daemon = home.start_with("WATCHDOG_USEC", "400000");
    if !unanswered.is_empty() {
        let add = ["add"].into_iter().chain(unanswered.iter().copied());
        home.client(&add.collect::<Vec<_>>()).expect(0);
    }
    home.await_rest();
    let (status, lines) = daemon.end("TERM");
    assert_eq!(status, Some(0));
    let state = home.path("state.db");
    home.client(&["state", "check", state.to_str().unwrap()])
        .expect(0);
    lines
}
