//! The daemon under its design load for minutes: 10,000 jobs, 500 polls per second, 100 hooks per minute, against the
//! simulator in this process. Runs only with `LOAD_SECONDS`, and its figures are meaningful only with `--release`.
//!
//! Every job is polled 20 s after its last response, so that the simulator's log shows how late each poll is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/skip.rs"]
mod skip;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use forgewatch_core::job::JobRef;
use forgewatch_sim::{Script, Server};
use rustix::process::{Pid, Signal, kill_process};
use skip::skip;

const JOBS: u64 = 10_000;
/// From a response to the next poll: 500 polls per second for 10,000 jobs.
const INTERVAL_MS: u64 = 20_000;
/// Requests per second at first, just above 500 to spread the first polls over one interval.
const FIRST_RATE: u64 = 600;
/// Afterwards well above 500, so that the rate limit causes no lateness.
const FULL_RATE: u64 = 1_000;
/// Between the ends of two jobs, each of which runs a hook.
const END_INTERVAL_MS: u64 = 600;
/// Until every job has been polled and the memory use is stable.
const WARM_UP: Duration = Duration::from_secs(45);
/// The daemon notifies twice in this time.
const WATCHDOG: Duration = Duration::from_secs(2);

const MAX_MEMORY_KIB: u64 = 64 << 10;
const MAX_GROWTH_KIB: u64 = 4 << 10;
const MAX_P99_MS: u64 = 250;

#[test]
fn ten_thousand_jobs_are_polled_on_time_in_little_memory() {
    let Ok(seconds) = env::var("LOAD_SECONDS") else {
        return skip("LOAD_SECONDS is not set");
    };
    let load = Duration::from_secs(seconds.parse().unwrap());
    let ends = u64::try_from(load.as_millis()).unwrap() / END_INTERVAL_MS;
    let server = Server::start(Script::parse(&jobs(ends)).unwrap()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let notices = UnixDatagram::bind(home.path().join("notify")).unwrap();
    configure(home.path(), &server.base_url(), FIRST_RATE);
    let daemon = start(home.path());
    let (ready, alive) = receive_notices(notices);
    ready.recv_timeout(Duration::from_mins(1)).unwrap();

    // Sleeps, because the load has to last for a given time.
    thread::sleep(WARM_UP / 2);
    configure(home.path(), &server.base_url(), FULL_RATE);
    kill_process(Pid::from_child(&daemon.0), Signal::HUP).unwrap();
    ready.recv_timeout(Duration::from_mins(1)).unwrap();
    thread::sleep(WARM_UP / 2);
    let from = server.log().len();
    let (before, hooks, beats) = (
        Usage::of(&daemon.0),
        delivered(home.path()),
        alive.load(Ordering::Relaxed),
    );
    thread::sleep(load);
    let (after, beats) = (Usage::of(&daemon.0), alive.load(Ordering::Relaxed) - beats);
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

/// The first `ends` jobs end one after the other from the end of the warm-up on; the rest run longer than the test.
fn jobs(ends: u64) -> String {
    (1..=JOBS).fold(String::new(), |mut script, n| {
        let warm = u64::try_from(WARM_UP.as_millis()).unwrap();
        let ms = if n <= ends {
            warm + n * END_INTERVAL_MS
        } else {
            36_000_000
        };
        let _ = writeln!(script, "[[jobs]]\njob = 'diff/{n}'\nduration = '{ms}ms'");
        script
    })
}

/// Killed when the test ends.
struct LoadedDaemon(Child);

impl Drop for LoadedDaemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn configure(home: &Path, base_url: &str, max_requests: u64) {
    let folder = home.display();
    let hook = home.join("hook");
    fs::write(
        &hook,
        format!("#!/bin/sh\necho $FORGEWATCH_JOB >> '{folder}/delivered'\n"),
    )
    .unwrap();
    fs::set_permissions(&hook, Permissions::from_mode(0o700)).unwrap();
    let mut config = format!(
        "[api]\nbase_url = '{base_url}'\naccount_service_id = 5678\nmax_requests_per_second = {max_requests}\n\
         [schedule]\nmin_interval = '{INTERVAL_MS}ms'\nmax_interval = '{INTERVAL_MS}ms'\n\
         [state]\npath = '{folder}/state.db'\n[control]\nsocket = '{folder}/control.sock'\n\
         [[hooks]]\nname = 'next'\non = ['job.completed']\nrun = ['{folder}/hook']\n"
    );
    for n in 1..=JOBS {
        let _ = writeln!(config, "[[jobs]]\njob = 'diff/{n}'");
    }
    fs::write(home.join("fw.toml"), config).unwrap();
}

fn start(home: &Path) -> LoadedDaemon {
    let child = Command::new(env!("CARGO_BIN_EXE_forgewatch"))
        .args(["watch", "--config"])
        .arg(home.join("fw.toml"))
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env("NOTIFY_SOCKET", home.join("notify"))
        .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
        .env("FORGEWATCH_ACCESS_KEY", "sim")
        .env("FORGEWATCH_SECRET_KEY", "sim")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    LoadedDaemon(child.unwrap())
}

/// Signals READY=1, and counts the watchdog notifications.
fn receive_notices(notices: UnixDatagram) -> (mpsc::Receiver<()>, Arc<AtomicUsize>) {
    let (send, ready) = mpsc::channel();
    let alive = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&alive);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = notices.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            if text.contains("READY=1") {
                let _ = send.send(());
            }
            if text.contains("WATCHDOG=1") {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    (ready, alive)
}

fn delivered(home: &Path) -> usize {
    let jobs = fs::read_to_string(home.join("delivered"));
    jobs.map_or(0, |text| text.lines().count())
}

/// Lateness of the polls from the `from`-th request on, in milliseconds, sorted; includes the response time.
fn lateness(log: &[forgewatch_sim::LoggedRequest], from: usize) -> Vec<u64> {
    let mut last: BTreeMap<JobRef, u64> = BTreeMap::new();
    let mut late = Vec::new();
    for (n, request) in log.iter().enumerate() {
        let Some(job) = request.job else { continue };
        let before = last.insert(job, request.at);
        if let Some(before) = before.filter(|_| n >= from) {
            late.push((request.at - before).saturating_sub(INTERVAL_MS));
        }
    }
    late.sort_unstable();
    late
}

/// Memory and processor time used so far; times in hundredths of a second, the kernel's unit in `/proc`.
struct Usage {
    rss_kib: u64,
    peak_kib: u64,
    main: u64,
    store: u64,
}

impl Usage {
    fn of(child: &Child) -> Self {
        let proc = Path::new("/proc").join(child.id().to_string());
        let status = fs::read_to_string(proc.join("status")).unwrap();
        let kib = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let (mut main, mut store) = (0, 0);
        for task in fs::read_dir(proc.join("task")).unwrap() {
            let task = task.unwrap().path();
            let Ok(stat) = fs::read_to_string(task.join("stat")) else {
                continue;
            };
            // proc_pid_stat(5): utime and stime are the 14th and 15th, the name in parentheses the 2nd.
            let (head, tail) = stat.rsplit_once(')').unwrap();
            let fields: Vec<&str> = tail.split_whitespace().collect();
            let ticks: u64 = fields[11..13]
                .iter()
                .map(|f| f.parse::<u64>().unwrap())
                .sum();
            match head.split_once('(').unwrap().1 {
                "store" => store += ticks,
                "forgewatch" => main += ticks,
                _ => {}
            }
        }
        Self {
            rss_kib: kib("VmRSS:"),
            peak_kib: kib("VmHWM:"),
            main,
            store,
        }
    }
}
