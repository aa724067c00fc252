//! Many `wait`s on a daemon with many jobs.

use std::io::{self, BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use forgewatch_sim::{Script, Server};

use crate::daemon::{INTERVAL_MS, JOBS, Usage, WARM_UP, ending_job, gaps, jobs, start};
use crate::load;

const WAITS: u64 = 200;
/// From the start of the daemon until the first of the waited jobs ends, besides the warm-up: all waits are connected.
const CONNECT: Duration = Duration::from_mins(1);
/// Between the ends of two jobs.
const END_INTERVAL_MS: u64 = 200;
const MAX_DELAY_MS: u128 = 50;
const MAX_GROWTH_KIB: u64 = 20 << 10;

#[test]
fn two_hundred_waits_end_with_their_jobs_and_cost_the_daemon_little() {
    if load().is_none() {
        return;
    }
    let server =
        Server::start(Script::parse(&jobs(WAITS, WARM_UP + CONNECT, END_INTERVAL_MS)).unwrap())
            .unwrap();
    let home = tempfile::tempdir().unwrap();
    let (daemon, _) = start(home.path(), &server.base_url(), None);
    let before = Usage::of(&daemon).rss_kib;
    let mut waits: Vec<Wait> = (1..=WAITS).map(|n| Wait::start(home.path(), n)).collect();
    for wait in &mut waits {
        wait.await_first_line();
    }
    let grown = Usage::of(&daemon).rss_kib.saturating_sub(before);
    let ends: Vec<JoinHandle<(String, Instant)>> = (waits.into_iter())
        .map(|wait| thread::spawn(|| wait.end()))
        .collect();
    let delay = |(job, ended): (String, Instant)| {
        let reported = daemon.reported(&job).unwrap();
        ended.saturating_duration_since(reported).as_millis()
    };
    let ends = ends.into_iter().map(|end| end.join().unwrap());
    let mut delays: Vec<u128> = ends.map(delay).collect();
    delays.sort_unstable();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    let (p50, p99, worst) = (at(0.5), at(0.99), at(1.0));
    let _ = writeln!(
        io::stderr(),
        "{WAITS} waits, {JOBS} jobs: a wait ends {p50} ms (p50), {p99} ms (p99), {worst} ms (worst) after the commit of its event; \
         the daemon's RSS grows by {grown} KiB"
    );
    assert!(p99 < MAX_DELAY_MS, "p99 of the delay: {p99} ms");
    assert!(grown < MAX_GROWTH_KIB, "grew by {grown} KiB");
    // A wait has neither address nor credentials of the API, and makes the daemon poll no job sooner.
    let soonest = gaps(&server.log(), 0).into_iter().min().unwrap();
    assert!(soonest >= INTERVAL_MS, "polled again after {soonest} ms");
}

struct Wait {
    job: String,
    child: Child,
    records: io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Wait {
    fn start(home: &Path, n: u64) -> Self {
        let job = format!("diff/{}", ending_job(n, WAITS));
        let mut child = Command::new(env!("CARGO_BIN_EXE_forgewatch"))
            .args(["wait", "--output", "json", "--annotations", "none"])
            .arg(&job)
            .env_clear()
            .env("HOME", home)
            .env("FORGEWATCH_SOCKET", home.join("control.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let records = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            job,
            child,
            records,
        }
    }

    /// It is written once the daemon has sent the list of jobs.
    fn await_first_line(&mut self) {
        let line = self.records.next().unwrap().unwrap();
        assert!(line.contains("watch.started"), "{line}");
    }

    /// The job, and when the process has ended.
    fn end(mut self) -> (String, Instant) {
        self.records.for_each(drop);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        (self.job, Instant::now())
    }
}
