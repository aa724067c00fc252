//! A disk that is full for a while, and one that fails, under the whole daemon. Both need root, and tools that are not
//! everywhere; where one is missing, the test says that it was skipped.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use forgewatch_sim::Script;
use rustix::process::geteuid;

use super::evidence::Evidence;
use super::{Daemon, Home, hook, listed, types};
use crate::place::{PATIENCE, job};

/// Set in the process that owns the disk.
const INSIDE: &str = "FULL_DISK_INSIDE";
/// What it says where the disk cannot be had.
const SKIPPED: &str = "skipped:";
const JOBS: usize = 12;

/// Says so even where the harness keeps a passing test's output to itself.
fn skip<T>(why: &str) -> Option<T> {
    let _ = writeln!(io::stderr(), "{SKIPPED} {why}");
    None
}

#[test]
fn on_a_full_disk_nothing_is_told_that_is_not_on_record_and_with_room_all_is_told_once() {
    if env::var_os(INSIDE).is_some() {
        return fill_the_disk();
    }
    run_inside(
        "on_a_full_disk_nothing_is_told_that_is_not_on_record_and_with_room_all_is_told_once",
    );
}

#[test]
fn clients_that_hang_up_while_the_disk_is_full_are_in_nobodys_way() {
    if env::var_os(INSIDE).is_some() {
        return hang_up();
    }
    run_inside("clients_that_hang_up_while_the_disk_is_full_are_in_nobodys_way");
}

/// Runs this test in a mount namespace, which takes its mounts with it when it ends.
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
    let said = String::from_utf8_lossy(&output.stderr);
    match said.lines().find(|line| line.starts_with(SKIPPED)) {
        Some(why) => skip(why.trim_start_matches(SKIPPED).trim()),
        None => Some(output),
    }
}

fn fill_the_disk() {
    let names: Vec<String> = (1..=JOBS).map(|n| format!("diff/{n}")).collect();
    let script: String = (names.iter())
        .map(|name| job(name, "duration = '2s'\nqueued = '200ms'\n"))
        .collect();
    let home = Home::new(&script, "");
    let Some(disk) = small_disk(&home) else {
        return;
    };
    let note = "echo $FORGEWATCH_EVENT_ID $FORGEWATCH_EVENT_TYPE $FORGEWATCH_ATTEMPT >> told";
    let hooks = hook("note", "'job.*'", &home.script("note", note), "");
    let jobs: String = names.iter().map(|name| listed(name)).collect();
    home.configure(&format!("stop_grace = '200ms'\n{jobs}{hooks}"));
    keep_on_disk(&home);

    let mut daemon = home.start_with("WATCHDOG_USEC", "200000");
    daemon.await_event("job.watching", "diff/1");
    fill(&disk.join("filler"));
    await_word_of_it(&mut daemon);
    // Asking goes on, past every job's end, and so do the signs of life.
    let is_over = |name: &String| home.stage.server.ended_at(name.parse().unwrap()).is_some();
    while !names.iter().all(is_over) {
        home.await_notice("WATCHDOG=1");
    }
    let asked = home.stage.server.log().len();
    assert!(
        home.stage
            .server
            .wait_for_hits(None, asked + JOBS, PATIENCE)
    );
    home.await_notice("WATCHDOG=1");
    let told = home.lines("told");
    let ends = told.iter().filter(|line| line.contains("job.completed"));
    assert!(ends.count() < JOBS, "it was never full: {told:#?}");
    let on_record = home.client(&["events"]).expect(0).stdout;
    for line in &told {
        let id = line.split(' ').next().unwrap();
        assert!(
            on_record.contains(id),
            "a hook ran for what is not on record: {line}"
        );
    }
    fs::remove_file(disk.join("filler")).unwrap();
    daemon.await_line("word of it", |line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("there is room again"))
    });
    home.await_rest();
    // With something to record, and nowhere to record it, it ends all the same.
    fill(&disk.join("filler"));
    for _ in 0..50 {
        home.client(&["reload"]).expect(0);
    }
    let (status, printed) = daemon.end("TERM");
    assert_eq!(status, Some(0));
    fs::remove_file(disk.join("filler")).unwrap();
    let errors = printed.iter().filter(|line| line["level"] == "ERROR");
    assert!(errors.count() < JOBS, "an error a step: {printed:#?}");
    let evidence = Evidence {
        events: home.remembered(),
        told: home.lines("told"),
        printed,
    };
    let expected = Script::parse(&script).unwrap().expected();
    let figures = evidence.check(&home.stage.server, &expected);
    assert_eq!(figures.executions, figures.events, "each delivered once");
}

fn hang_up() {
    let names: Vec<String> = (1..=40).map(|n| format!("diff/{n}")).collect();
    let all = |form: &dyn Fn(&String) -> String| names.iter().map(form).collect::<String>();
    let script = all(&|name| job(name, "duration = '10m'"));
    let home = Home::new(&script, &all(&|name| listed(name)));
    let Some(disk) = small_disk(&home) else {
        return;
    };
    keep_on_disk(&home);
    let mut daemon = home.start();
    fill(&disk.join("filler"));
    // More than are served at once, and none of them can be answered.
    let ask = |name: &String| {
        let mut client = UnixStream::connect(home.socket()).unwrap();
        writeln!(client, r#"{{"remove":{{"jobs":["{name}"]}}}}"#).unwrap();
        client
    };
    let clients: Vec<UnixStream> = names.iter().map(ask).collect();
    await_word_of_it(&mut daemon);
    drop(clients);
    home.client(&["list"]).expect(0);
    fs::remove_file(disk.join("filler")).unwrap();
    for name in &names {
        daemon.await_event("job.removed", name);
    }
    assert_eq!(daemon.end("TERM").0, Some(0));
}

/// A disk that is soon full, in the home's folder.
fn small_disk(home: &Home) -> Option<PathBuf> {
    let disk = home.path("disk");
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

/// Has the daemon keep its state there.
fn keep_on_disk(home: &Home) {
    let config = fs::read_to_string(home.path("fw.toml")).unwrap();
    let config = config.replace("state.db", "disk/state.db");
    home.stage.place.file("fw.toml", config);
}

/// Waits until the daemon says that the disk is full.
fn await_word_of_it(daemon: &mut Daemon) {
    daemon.await_line("word of it", |line| {
        line["level"] == "ERROR" && line["error"].to_string().contains("disk is full")
    });
}

/// Takes all the room there is.
fn fill(path: &std::path::Path) {
    let mut filler = File::create(path).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
}

#[test]
fn a_disk_that_fails_at_a_commit_ends_the_daemon_and_the_next_start_goes_on() {
    let home = Home::new(
        &(job("diff/1", "duration = '10m'") + &job("diff/2", "")),
        &listed("diff/1"),
    );
    let mut command = home.command();
    command.stderr(Stdio::piped());
    let mut daemon = Daemon::spawn(command);
    home.await_notice("READY=1");
    let watching = daemon.await_event("job.watching", "diff/1");
    let Some(mut tracer) = fail_every_sync(&daemon) else {
        return;
    };
    let added = home.client(&["add", "diff/2"]).expect(1);
    let mut said = String::new();
    let mut stderr = daemon.child.stderr.take().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    let (status, printed) = daemon.wait();
    assert_eq!(status, Some(1), "{said}\n{printed:#?}");
    assert!(
        said.contains("the state can't be trusted any more"),
        "{said}"
    );
    tracer.wait().unwrap();
    assert!(!types(&printed).contains(&"watch.finished"), "{printed:#?}");

    let mut daemon = home.start();
    home.client(&["add", "diff/2"]).expect(0);
    daemon.await_event("job.completed", "diff/2");
    home.client(&["remove", "diff/1"]).expect(0);
    let removed = daemon.await_event("job.removed", "diff/1");
    assert_eq!(removed["watch"], watching["watch"], "{added:?}");
    daemon.end("TERM");
}

/// From here on the daemon's disk says that it has failed.
fn fail_every_sync(daemon: &Daemon) -> Option<Child> {
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
    let mut said = BufReader::new(tracer.stderr.take()?);
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    if !line.contains("attached") {
        return skip(&format!("a disk that fails needs strace: {line}"));
    }
    // Read on, so that the tracer is not ended by a closed pipe.
    std::thread::spawn(move || io::copy(&mut said, &mut io::sink()));
    Some(tracer)
}
