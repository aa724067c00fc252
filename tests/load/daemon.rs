//! The daemon, its configuration, and what it uses.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use forgewatch_core::job::JobRef;
use forgewatch_sim::LoggedRequest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub(crate) const JOBS: u64 = 10_000;
/// From a response to the next poll: 500 polls per second for 10,000 jobs.
pub(crate) const INTERVAL_MS: u64 = 20_000;
/// Requests per second at first, just above 500 to spread the first polls over one interval.
const FIRST_RATE: u64 = 600;
/// Afterwards well above 500, so that the rate limit causes no lateness.
const FULL_RATE: u64 = 1_000;
/// Until every job has been polled and the memory use is stable.
pub(crate) const WARM_UP: Duration = Duration::from_secs(45);
/// The daemon notifies twice in this time.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(2);

/// Killed when the test ends.
pub(crate) struct LoadedDaemon {
    process: Child,
    /// When each job was reported as completed, which is after the commit.
    reported: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl LoadedDaemon {
    pub(crate) fn reported(&self, job: &str) -> Option<Instant> {
        self.reported.lock().unwrap().get(job).copied()
    }
}

impl Drop for LoadedDaemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `ends` jobs, see [`ending_job`], end one after the other from `first` on; the rest run longer than the test.
pub(crate) fn jobs(ends: u64, first: Duration, interval_ms: u64) -> String {
    let first = u64::try_from(first.as_millis()).unwrap();
    let mut durations = vec![36_000_000; usize::try_from(JOBS).unwrap()];
    for n in 1..=ends {
        durations[usize::try_from(ending_job(n, ends)).unwrap() - 1] = first + n * interval_ms;
    }
    (1..)
        .zip(durations)
        .fold(String::new(), |mut script, (n, ms)| {
            let _ = writeln!(script, "[[jobs]]\njob = 'diff/{n}'\nduration = '{ms}ms'");
            script
        })
}

/// The ID of the nth of `ends` jobs that end. They are spread over the list, as are the times of their polls: jobs that
/// stand side by side are polled together, and their ends would be seen together.
pub(crate) fn ending_job(n: u64, ends: u64) -> u64 {
    n * (JOBS / ends)
}

/// Starts the daemon with all jobs and waits for [`WARM_UP`]. Also returns the number of its watchdog notifications.
pub(crate) fn start(
    home: &Path,
    base_url: &str,
    http: Option<SocketAddr>,
) -> (LoadedDaemon, Arc<AtomicUsize>) {
    let notices = UnixDatagram::bind(home.join("notify")).unwrap();
    configure(home, base_url, http, FIRST_RATE);
    let daemon = spawn(home);
    let (ready, alive) = receive_notices(notices);
    ready.recv_timeout(Duration::from_mins(1)).unwrap();
    // Sleeps, because the load has to last for a given time.
    thread::sleep(WARM_UP / 2);
    configure(home, base_url, http, FULL_RATE);
    kill_process(Pid::from_child(&daemon.process), Signal::HUP).unwrap();
    ready.recv_timeout(Duration::from_mins(1)).unwrap();
    thread::sleep(WARM_UP / 2);
    (daemon, alive)
}

fn configure(home: &Path, base_url: &str, http: Option<SocketAddr>, max_requests: u64) {
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
    if let Some(address) = http {
        let _ = write!(config, "[http]\nlisten = '{address}'\n");
    }
    for n in 1..=JOBS {
        let _ = writeln!(config, "[[jobs]]\njob = 'diff/{n}'");
    }
    fs::write(home.join("fw.toml"), config).unwrap();
}

fn spawn(home: &Path) -> LoadedDaemon {
    let mut process = Command::new(env!("CARGO_BIN_EXE_forgewatch"))
        .args(["watch", "--output", "json", "--config"])
        .arg(home.join("fw.toml"))
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env("NOTIFY_SOCKET", home.join("notify"))
        .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
        .env("FORGEWATCH_ACCESS_KEY", "sim")
        .env("FORGEWATCH_SECRET_KEY", "sim")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let records = BufReader::new(process.stdout.take().unwrap()).lines();
    let reported = Arc::<Mutex<BTreeMap<_, _>>>::default();
    let ends = Arc::clone(&reported);
    thread::spawn(move || {
        for line in records.map_while(Result::ok) {
            let now = Instant::now();
            if line.contains(r#""event_type":"job.completed""#) {
                let record: Value = serde_json::from_str(&line).unwrap();
                let job = record["job"].as_str().unwrap().to_owned();
                ends.lock().unwrap().insert(job, now);
            }
        }
    });
    LoadedDaemon { process, reported }
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

/// The times between two polls of the same job, from the `from`-th request on, in milliseconds.
pub(crate) fn gaps(log: &[LoggedRequest], from: usize) -> Vec<u64> {
    let mut last: BTreeMap<JobRef, u64> = BTreeMap::new();
    let mut gaps = Vec::new();
    for (n, request) in log.iter().enumerate() {
        let Some(job) = request.job else { continue };
        let before = last.insert(job, request.at);
        gaps.extend(
            before
                .filter(|_| n >= from)
                .map(|before| request.at - before),
        );
    }
    gaps
}

/// Memory and processor time used so far; times in hundredths of a second, the kernel's unit in `/proc`.
pub(crate) struct Usage {
    pub(crate) rss_kib: u64,
    pub(crate) peak_kib: u64,
    pub(crate) main: u64,
    pub(crate) store: u64,
}

impl Usage {
    pub(crate) fn of(daemon: &LoadedDaemon) -> Self {
        let proc = Path::new("/proc").join(daemon.process.id().to_string());
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
