//! Power cuts in the middle of commits: what was answered is there. A process that is killed leaves its writes with the
//! kernel; here they are lost unless they were synced. And the proof that this would be noticed.
//!
//! Needs root, and says so where it is skipped. `POWER_CUTS` in the environment asks for more of them.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, geteuid, kill_process, waitpid};

use crate::crash::{check, note_ack, writer};
use crate::disk::Disk;
use crate::skip::{SKIPPED, skip};

/// How many cuts; 10 without it.
const CUTS: &str = "POWER_CUTS";
/// A library that makes every sync a lie, for all writers but the first.
const LIE: &str = "POWER_CUT_LIE";
/// Set in the process that owns the disk.
const INSIDE: &str = "POWER_CUT_INSIDE";

const NO_SYNC: &str = "int fsync(int file) { return 0; }\nint fdatasync(int file) { return 0; }\n";

/// Runs [`power_is_cut_again_and_again`] in a mount namespace, which takes its mounts with it when it ends.
fn scenario(settings: &[(&str, &str)]) -> Option<Output> {
    if !geteuid().is_root() {
        skip("power cuts need root");
        return None;
    }
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "power_cut::power_is_cut_again_and_again"])
        .arg("--nocapture")
        .env(INSIDE, "1")
        .envs(settings.iter().copied())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            skip(&format!("power cuts need unshare: {error}"));
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // The scenario says so where the disk cannot be had.
    if let Some((_, why)) = said.lines().find_map(|line| line.split_once(SKIPPED)) {
        skip(why.trim());
        return None;
    }
    Some(output)
}

#[test]
fn power_cuts_lose_nothing_that_was_acked() {
    let cuts = env::var(CUTS).unwrap_or_else(|_| "10".to_owned());
    if let Some(output) = scenario(&[(CUTS, &cuts)]) {
        assert!(output.status.success(), "{output:#?}");
        let said = String::from_utf8_lossy(&output.stderr);
        let figures = said.lines().find(|line| line.contains("none lost"));
        let _ = writeln!(io::stderr(), "{}", figures.unwrap());
    }
}

#[test]
fn a_store_that_does_not_sync_is_caught_by_power_cuts() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("lie.c");
    let library = folder.path().join("lie.so");
    fs::write(&source, NO_SYNC).unwrap();
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-o"]).arg(&library);
    if !compile.arg(&source).status().is_ok_and(|s| s.success()) {
        return skip("no cc, to make a sync a lie");
    }
    let lie = library.to_str().unwrap();
    if let Some(output) = scenario(&[(CUTS, "4"), (LIE, lie)]) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "nothing was noticed: {said}");
        assert!(said.contains("acked, and lost"), "{said}");
    }
}

#[tokio::test]
async fn power_is_cut_again_and_again() {
    if env::var_os(INSIDE).is_none() {
        return;
    }
    let disk = match Disk::new() {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let path = disk.path().join("state.db");
    let cuts = env::var(CUTS).unwrap().parse().unwrap();
    let mut acked = BTreeSet::new();
    for cut in 0..cuts {
        let mut binary = Command::new(env::current_exe().unwrap());
        if let Some(library) = env::var_os(LIE).filter(|_| cut > 0) {
            binary.env("LD_PRELOAD", library);
        }
        // Not by the clock: after so many answers, in the middle of the next transactions.
        write_until_cut(
            &disk,
            &mut writer(binary, &path),
            1 + cut * 37 % 300,
            &mut acked,
        );
        check(&path, &acked).await;
    }
    let (acked, cuts) = (acked.len(), cuts as usize);
    assert!(acked > cuts, "{acked} commits");
    let _ = writeln!(
        io::stderr(),
        "{cuts} power cuts, {acked} commits, none lost"
    );
}

/// Cuts the power while a writer writes that has given so many answers, and mounts what is left.
fn write_until_cut(
    disk: &Disk,
    writer: &mut Command,
    answers: u32,
    acked: &mut BTreeSet<(u64, u32)>,
) {
    let mut child = writer.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut left = answers;
    while left > 0 {
        let line = lines.next().unwrap().unwrap();
        left -= u32::from(note_ack(&line, acked));
    }
    // Stopped first: a sync that is under way would return as if it had been done, and be answered.
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP).unwrap();
    let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped(), "{status:?}");
    disk.shut_down().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        note_ack(&line, acked);
    }
    disk.restore().unwrap();
}
