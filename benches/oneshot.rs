//! Detection delay and requests of a one-shot in real time: `cargo bench --bench oneshot`, about 65 seconds.
//!
//! The simulator runs 20 jobs of 20 to 60 s with its seven models of ETAs in turn; the real binary watches them over
//! HTTP with default settings and without calibration. The simulator records the true ends and the requests. For
//! comparison: a loop that polls each job once a second detects the ends 0.5 s late, with one request per second.

use std::error::Error;
use std::fmt::Write as _;
use std::process::Command;

use forgewatch_core::job::JobRef;
use forgewatch_sim::{Script, Server};

type Outcome<T> = Result<T, Box<dyn Error>>;

const JOBS: usize = 20;
const ETAS: [&str; 7] = [
    "exact",
    "noisy",
    "fixed",
    "optimistic",
    "extrapolated",
    "progress_only",
    "blind",
];

fn main() -> Outcome<()> {
    let seconds = |n: usize| 20 + 40 * n / (JOBS - 1);
    let mut script = "seed = 7\n".to_owned();
    // 7 and 20 have no common factor, so no model of ETAs has only short jobs.
    for n in 0..JOBS {
        let (eta, seconds) = (ETAS[n % ETAS.len()], seconds(n * 7 % JOBS));
        writeln!(
            script,
            "[[jobs]]\njob = \"update/{}\"\nduration = \"{seconds}s\"\neta = \"{eta}\"",
            n + 1
        )?;
    }
    let script = Script::parse(&script)?;
    let jobs = script.jobs();
    let cache = tempfile::tempdir()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_forgewatch"));
    command
        .args(["watch", "--until-done", "--output", "quiet"])
        .args([
            "--account-service-id",
            &script.account_service_id.to_string(),
        ])
        .env_clear()
        .env("FORGEWATCH_ACCESS_KEY", &script.access_key)
        .env("FORGEWATCH_SECRET_KEY", &script.secret_key)
        .env("XDG_CACHE_HOME", cache.path());
    let server = Server::start(script)?;
    let status = command
        .args(["--base-url", &server.base_url()])
        .args(jobs.iter().map(ToString::to_string))
        .status()?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    report(&server, &jobs)
}

fn report(server: &Server, jobs: &[JobRef]) -> Outcome<()> {
    let log = server.log();
    let (mut delays, mut lifetimes) = (Vec::new(), 0.0);
    for (n, &job) in jobs.iter().enumerate() {
        let ended = server.ended_at(job).ok_or("a job did not end")?;
        let polled: Vec<u64> = log
            .iter()
            .filter(|request| request.job == Some(job))
            .map(|request| request.at)
            .collect();
        let (first, last) = polled
            .first()
            .zip(polled.last())
            .ok_or("a job was never polled")?;
        let (delay, lifetime) = (seconds(*last, ended), seconds(ended, *first));
        println!(
            "  {job}, {}, {lifetime:.0} s: {} requests, seen {delay:.1} s late",
            ETAS[n % ETAS.len()],
            polled.len(),
        );
        delays.push(delay);
        lifetimes += lifetime;
    }
    // The last request of a loop detects the end.
    let loop_requests = lifetimes + jobs.len() as f64;
    println!(
        "{} jobs: seen {:.2} s late on average, with {} requests; a one-second loop makes {loop_requests:.0}; ratio {:.3}",
        jobs.len(),
        delays.iter().sum::<f64>() / delays.len() as f64,
        log.len(),
        log.len() as f64 / loop_requests,
    );
    Ok(())
}

fn seconds(later_ms: u64, earlier_ms: u64) -> f64 {
    later_ms.saturating_sub(earlier_ms) as f64 / 1e3
}
