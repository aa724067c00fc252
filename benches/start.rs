//! The cost of a whole one-shot for a job that has already ended: `cargo bench --bench start`.
//!
//! `forgewatch watch --until-done update/1 --output quiet` runs against a server that responds at once, and `curl`
//! requests the same URL, in turn, over HTTP and HTTPS. The server's certificate is signed by its own authority, which
//! is in `--cacert` for curl and in `api.ca_file` for forgewatch. curl then reads no other authority, forgewatch also
//! the system's.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use support::median::median;
use support::responder::{Identity, PreparedResponses, http1, tls};
use support::rss::memory;
use tempfile::TempDir;
use tokio::net::TcpListener;

mod support {
    pub(crate) mod median;
    pub(crate) mod responder;
    pub(crate) mod rss;
}

type Outcome<T> = Result<T, Box<dyn Error>>;

const COMPLETED: &str = r#"{"success":true,"updateid":1,"jobstateid":5,"jobstatename":"Completed","jobprogress":100,"jobfailed":0,"jobupdated":1760000000}"#;
const ROUNDS: usize = 10;
/// Runs of each side in a round: the processor time of children has a resolution of 10 ms.
const RUNS: u32 = 10;
const ACCESS_KEY: &str = "access";
const SECRET_KEY: &str = "secret";

fn main() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let ca = folder.path().join("ca.pem");
    let identity = Identity::new()?;
    fs::write(&ca, &identity.ca_pem)?;
    let (clear, over_tls) = serve(identity)?;
    for base in [format!("http://{clear}"), format!("https://{over_tls}")] {
        compare(&base, &ca, &folder)?;
    }
    Ok(())
}

/// Runs the responder on a new thread, over plain HTTP and TLS; returns the two addresses.
fn serve(identity: Identity) -> Outcome<(String, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listen = || runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let (clear, over_tls) = (listen()?, listen()?);
    let addresses = (
        clear.local_addr()?.to_string(),
        over_tls.local_addr()?.to_string(),
    );
    std::thread::spawn(move || {
        let responses = PreparedResponses::new([COMPLETED.to_owned()], 1);
        runtime
            .block_on(async {
                tokio::join!(
                    http1(clear, responses.clone()),
                    tls(over_tls, &identity, "http/1.1", responses.clone()),
                )
            })
            .1
            .map_err(|error| error.to_string())
    });
    Ok(addresses)
}

fn compare(base: &str, ca: &Path, folder: &TempDir) -> Outcome<()> {
    let mut ours = forgewatch(base, ca, folder)?;
    let mut curl = curl(base, ca);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push((measure(&mut ours)?, measure(&mut curl)?));
    }
    let (scheme, _) = base.split_once(':').unwrap_or_default();
    println!(
        "{scheme}: forgewatch {}; curl {}; ratio of wall {:.2}, of CPU {:.2}, of memory {:.2}",
        summary(rounds.iter().map(|(ours, _)| ours)),
        summary(rounds.iter().map(|(_, curl)| curl)),
        median(
            rounds
                .iter()
                .map(|(ours, curl)| ours.wall_ms / curl.wall_ms)
        ),
        median(rounds.iter().map(|(ours, curl)| ours.cpu_ms / curl.cpu_ms)),
        median(
            rounds
                .iter()
                .map(|(ours, curl)| ours.peak_mib / curl.peak_mib)
        ),
    );
    Ok(())
}

fn summary<'a>(rounds: impl Iterator<Item = &'a RunCost> + Clone) -> String {
    format!(
        "{:.1} ms, CPU {:.1} ms, {:.1} MiB",
        median(rounds.clone().map(|cost| cost.wall_ms)),
        median(rounds.clone().map(|cost| cost.cpu_ms)),
        median(rounds.map(|cost| cost.peak_mib)),
    )
}

fn forgewatch(base: &str, ca: &Path, folder: &TempDir) -> Outcome<Command> {
    let config = folder.path().join("forgewatch.toml");
    let mut text = format!("[api]\nbase_url = {base:?}\naccount_service_id = 1\n");
    if base.starts_with("https") {
        writeln!(text, "ca_file = {:?}", ca.display().to_string())?;
    }
    fs::write(&config, text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_forgewatch"));
    command
        .args(["watch", "--until-done", "update/1", "--output", "quiet"])
        .arg("--config")
        .arg(config)
        .env_clear()
        .env("FORGEWATCH_ACCESS_KEY", ACCESS_KEY)
        .env("FORGEWATCH_SECRET_KEY", SECRET_KEY)
        .env("XDG_CACHE_HOME", folder.path())
        // Its final line.
        .stderr(Stdio::null());
    Ok(command)
}

fn curl(base: &str, ca: &Path) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail"])
        .arg("--cacert")
        .arg(ca)
        .args(["--user", &format!("{ACCESS_KEY}:{SECRET_KEY}")])
        .arg(format!(
            "{base}/cfp/v1/imageupdate/1/status?accountserviceid=1"
        ))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdout(Stdio::null());
    command
}

/// The cost of a run, averaged over a round.
struct RunCost {
    wall_ms: f64,
    cpu_ms: f64,
    /// The peak resident memory of one run.
    peak_mib: f64,
}

fn measure(command: &mut Command) -> Outcome<RunCost> {
    let (before, begin) = (children_ms()?, Instant::now());
    for _ in 0..RUNS {
        let status = command.status()?;
        if !status.success() {
            return Err(format!("{command:?}: {status}").into());
        }
    }
    let (wall, cpu) = (begin.elapsed(), children_ms()? - before);
    Ok(RunCost {
        wall_ms: wall.as_secs_f64() * 1e3 / f64::from(RUNS),
        cpu_ms: cpu / f64::from(RUNS),
        peak_mib: peak(command)? as f64 / f64::from(1 << 20),
    })
}

/// The peak resident memory of one more run, read continuously until it ends.
fn peak(command: &mut Command) -> Outcome<u64> {
    let mut child = command.spawn()?;
    let process = child.id().to_string();
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        // A process that is exiting has no memory.
        peak = memory(&process, "VmHWM:").unwrap_or(0).max(peak);
    }
    Ok(peak)
}

/// The processor time, user and system, of all children that have ended.
fn children_ms() -> Outcome<f64> {
    const TICK_MS: f64 = 10.0;
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').ok_or("no name in stat")?.1;
    // The fields 16 and 17 of proc(5), cutime and cstime; the first after the name is field 3.
    fields
        .split_whitespace()
        .skip(13)
        .take(2)
        .map(|ticks| Ok(ticks.parse::<f64>()? * TICK_MS))
        .sum()
}
