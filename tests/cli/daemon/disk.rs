//! The daemon on a disk that is full for a while, and on one that fails. Both need root and some tools; without them the
//! test prints that it was skipped.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use forgewatch_sim::Script;
use rustix::process::geteuid;

use super::evidence::Evidence;
use super::http::{HttpFixture, HttpResponse};
use super::{DaemonFixture, DaemonProcess, hook, listed, types};
use crate::fixture::{TIMEOUT, job};

/// Set in the child process that mounts the disk.
const INSIDE: &str = "FULL_DISK_INSIDE";
const SKIPPED: &str = "skipped:";
const JOBS: usize = 12;

/// Prints to standard error, past the test harness, which captures the output of passing tests.
fn skip<T>(why: &str) -> Option<T> {
    let _ = writeln!(io::stderr(), "{SKIPPED} {why}");
    None
}

#[test]
fn on_a_full_disk_only_recorded_events_are_published_and_later_each_event_once() {
    if env::var_os(INSIDE).is_some() {
        return fill_the_disk();
    }
    run_inside("on_a_full_disk_only_recorded_events_are_published_and_later_each_event_once");
}

#[test]
fn clients_that_disconnect_while_the_disk_is_full_block_no_other_client() {
    if env::var_os(INSIDE).is_some() {
        return hang_up();
    }
    run_inside("clients_that_disconnect_while_the_disk_is_full_block_no_other_client");
}

/// Runs this test in a mount namespace, whose mounts vanish with it.
fn run_inside(test: &str) {
    if let Some(output) = inside(test) {
        assert!(output.status.success(), "{output:#?}");
    }
}

fn inside(test: &str) -> Option<Output> {
    if !geteuid().is_root() {
        return skip("a full disk needs root");
    }
    let name = format!("daemon::disk::{test}");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(INSIDE, "1")
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return skip(&format!("a full disk needs unshare: {error}")),
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    match stderr.lines().find(|line| line.starts_with(SKIPPED)) {
        Some(why) => skip(why.trim_start_matches(SKIPPED).trim()),
        None => Some(output),
    }
}

fn fill_the_disk() {
    let names: Vec<String> = (1..=JOBS).map(|n| format!("diff/{n}")).collect();
    let script: String = (names.iter())
        .map(|name| job(name, "duration = '2s'\nqueued = '200ms'\n"))
        .collect();
    let http = HttpFixture::new(&script, "");
    let fixture = &http.daemon;
    let Some(disk) = small_disk(fixture) else {
        return;
    };
    let note = "echo $FORGEWATCH_EVENT_ID $FORGEWATCH_EVENT_TYPE $FORGEWATCH_ATTEMPT >> events.txt";
    let hooks = hook("note", "'job.*'", &fixture.script("note", note), "");
    let jobs: String = names.iter().map(|name| listed(name)).collect();
    let listen = format!("[http]\nlisten = '127.0.0.1:{}'\n", http.port);
    fixture.configure(&format!("stop_grace = '200ms'\n{listen}{jobs}{hooks}"));
    keep_on_disk(fixture);

    let mut daemon = fixture.start_with("WATCHDOG_USEC", "200000");
    daemon.await_event("job.watching", "diff/1");
    fill(&disk.join("filler"));
    await_disk_full(&mut daemon);
    // Polls continue past the end of every job, and so do the watchdog notifications.
    let is_over = |name: &String| fixture.sim.server.ended_at(name.parse().unwrap()).is_some();
    while !names.iter().all(is_over) {
        fixture.await_notice("WATCHDOG=1");
    }
    let requests = fixture.sim.server.log().len();
    assert!(
        fixture
            .sim
            .server
            .wait_for_requests(None, requests + JOBS, TIMEOUT)
    );
    fixture.await_notice("WATCHDOG=1");
    let status = fixture.client(&["status"]).expect(0).stdout;
    assert!(
        status.contains("state:         cannot be written: "),
        "{status}"
    );
    let store = |unready: &HttpResponse| unready.json()["checks"]["store"]["ok"].clone();
    assert_eq!(store(&http.get("/-/ready").expect(503)), false);
    http.get("/-/healthy").expect(200);
    let hook_runs = fixture.lines("events.txt");
    let ends = hook_runs
        .iter()
        .filter(|line| line.contains("job.completed"));
    assert!(
        ends.count() < JOBS,
        "the disk was never full: {hook_runs:#?}"
    );
    let recorded = fixture.client(&["events"]).expect(0).stdout;
    for line in &hook_runs {
        let id = line.split(' ').next().unwrap();
        assert!(
            recorded.contains(id),
            "a hook ran for an event that is not recorded: {line}"
        );
    }
    fs::remove_file(disk.join("filler")).unwrap();
    daemon.await_line("recovery", |line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("disk space is available again"))
    });
    fixture.await_idle();
    assert_eq!(store(&http.get("/-/ready").expect(200)), true);
    // It stops although there are events that it cannot record.
    fill(&disk.join("filler"));
    for _ in 0..50 {
        fixture.client(&["reload"]).expect(0);
    }
    let (status, printed) = daemon.stop("TERM");
    assert_eq!(status, Some(0));
    fs::remove_file(disk.join("filler")).unwrap();
    let errors = printed.iter().filter(|line| line["level"] == "ERROR");
    assert!(
        errors.count() < JOBS,
        "an error for each step: {printed:#?}"
    );
    let evidence = Evidence {
        events: fixture.recorded_events(),
        hook_runs: fixture.lines("events.txt"),
        printed,
    };
    let expected = Script::parse(&script).unwrap().expected();
    let figures = evidence.check(&fixture.sim.server, &expected);
    assert_eq!(figures.executions, figures.events, "each delivered once");
}

fn hang_up() {
    let names: Vec<String> = (1..=40).map(|n| format!("diff/{n}")).collect();
    let all = |form: &dyn Fn(&String) -> String| names.iter().map(form).collect::<String>();
    let script = all(&|name| job(name, "duration = '10m'"));
    let fixture = DaemonFixture::new(&script, &all(&|name| listed(name)));
    let Some(disk) = small_disk(&fixture) else {
        return;
    };
    keep_on_disk(&fixture);
    let mut daemon = fixture.start();
    fill(&disk.join("filler"));
    // More than the daemon serves at once, and none of them can get a response.
    let request = |name: &String| {
        let mut client = UnixStream::connect(fixture.socket()).unwrap();
        writeln!(
            client,
            r#"{{"protocol":1,"request":{{"remove":{{"jobs":["{name}"]}}}}}}"#
        )
        .unwrap();
        client
    };
    let clients: Vec<UnixStream> = names.iter().map(request).collect();
    await_disk_full(&mut daemon);
    drop(clients);
    fixture.client(&["list"]).expect(0);
    fs::remove_file(disk.join("filler")).unwrap();
    for name in &names {
        daemon.await_event("job.removed", name);
    }
    assert_eq!(daemon.stop("TERM").0, Some(0));
}

/// Mounts a disk of 8 MiB in the fixture's directory.
fn small_disk(fixture: &DaemonFixture) -> Option<PathBuf> {
    let disk = fixture.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
        .arg(&disk)
        .output();
    if !mount.as_ref().is_ok_and(|done| done.status.success()) {
        return skip(&format!("a full disk needs mount: {mount:?}"));
    }
    Some(disk)
}

fn keep_on_disk(fixture: &DaemonFixture) {
    let config = fs::read_to_string(fixture.path("fw.toml")).unwrap();
    let config = config.replace("state.db", "disk/state.db");
    fixture.sim.sandbox.file("fw.toml", config);
}

fn await_disk_full(daemon: &mut DaemonProcess) {
    daemon.await_line("error about a full disk", |line| {
        line["level"] == "ERROR" && line["error_message"].to_string().contains("disk is full")
    });
}

fn fill(path: &std::path::Path) {
    let mut filler = File::create(path).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
}

#[test]
fn a_failing_disk_ends_the_daemon_and_the_next_start_continues() {
    let fixture = DaemonFixture::new(
        &(job("diff/1", "duration = '10m'") + &job("diff/2", "")),
        &listed("diff/1"),
    );
    let mut command = fixture.command();
    command.stderr(Stdio::piped());
    let mut daemon = DaemonProcess::spawn(command);
    fixture.await_notice("READY=1");
    let watching = daemon.await_event("job.watching", "diff/1");
    let Some(mut tracer) = fail_every_sync(&daemon) else {
        return;
    };
    let added = fixture.client(&["add", "diff/2"]).expect(1);
    let mut errors = String::new();
    let mut stderr = daemon.child.stderr.take().unwrap();
    stderr.read_to_string(&mut errors).unwrap();
    let (status, printed) = daemon.wait();
    assert_eq!(status, Some(1), "{errors}\n{printed:#?}");
    assert!(errors.contains("the state file failed"), "{errors}");
    tracer.wait().unwrap();
    assert!(!types(&printed).contains(&"watch.finished"), "{printed:#?}");

    let mut daemon = fixture.start();
    fixture.client(&["add", "diff/2"]).expect(0);
    daemon.await_event("job.completed", "diff/2");
    fixture.client(&["remove", "diff/1"]).expect(0);
    let removed = daemon.await_event("job.removed", "diff/1");
    assert_eq!(removed["watch"], watching["watch"], "{added:?}");
    daemon.stop("TERM");
}

/// Makes every sync of the daemon fail from now on.
fn fail_every_sync(daemon: &DaemonProcess) -> Option<Child> {
    if !geteuid().is_root() {
        return skip("a disk that fails needs root");
    }
    let tracer = Command::new("strace")
        .args(["-f", "-e", "trace=fsync,fdatasync"])
        .args(["-e", "inject=fsync,fdatasync:error=EIO", "-p"])
        .arg(daemon.pid().to_string())
        .stderr(Stdio::piped())
        .spawn();
    let mut tracer = match tracer {
        Ok(tracer) => tracer,
        Err(error) => return skip(&format!("a disk that fails needs strace: {error}")),
    };
    let mut output = BufReader::new(tracer.stderr.take()?);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    if !line.contains("attached") {
        return skip(&format!("a disk that fails needs strace: {line}"));
    }
    // Keep reading, because a closed pipe would end strace.
    std::thread::spawn(move || io::copy(&mut output, &mut io::sink()));
    Some(tracer)
}
