//! Power cuts during commits: every acknowledged commit is stored. The writes of a killed process stay in the kernel;
//! here they are lost unless they were synced. A second test proves that missing syncs are detected.
//!
//! Needs root. `POWER_CUTS` in the environment sets the number of cuts.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, geteuid, kill_process, waitpid};

use crate::crash::{check, note_ack, writer};
use crate::disk::Disk;
use crate::skip::{SKIPPED, skip};

/// The number of cuts; default 10.
const CUTS: &str = "POWER_CUTS";
/// A library without working syncs, for all writers but the first.
const LIE: &str = "POWER_CUT_LIE";
/// Set in the process that owns the disk.
const INSIDE: &str = "POWER_CUT_INSIDE";

const NO_SYNC: &str = "int fsync(int file) { return 0; }\nint fdatasync(int file) { return 0; }\n";

/// Runs [`power_is_cut_repeatedly`] in a mount namespace, whose mounts disappear with it.
fn scenario(settings: &[(&str, &str)]) -> Option<Output> {
    if !geteuid().is_root() {
        skip("power cuts need root");
        return None;
    }
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "power_cut::power_is_cut_repeatedly"])
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
    let stderr = String::from_utf8_lossy(&output.stderr);
    // The test prints this if it cannot create the disk.
    if let Some((_, why)) = stderr.lines().find_map(|line| line.split_once(SKIPPED)) {
        skip(why.trim());
        return None;
    }
    Some(output)
}

#[test]
fn power_cuts_lose_no_acknowledged_commit() {
    let cuts = env::var(CUTS).unwrap_or_else(|_| "10".to_owned());
    if let Some(output) = scenario(&[(CUTS, &cuts)]) {
        assert!(output.status.success(), "{output:#?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let figures = stderr.lines().find(|line| line.contains("none lost"));
        let _ = writeln!(io::stderr(), "{}", figures.unwrap());
    }
}

#[test]
fn power_cuts_detect_a_store_that_does_not_sync() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("lie.c");
    let library = folder.path().join("lie.so");
    fs::write(&source, NO_SYNC).unwrap();
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-o"]).arg(&library);
    if !compile.arg(&source).status().is_ok_and(|s| s.success()) {
        return skip("needs cc to replace fsync");
    }
    let lie = library.to_str().unwrap();
    if let Some(output) = scenario(&[(CUTS, "4"), (LIE, lie)]) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "not detected: {stderr}");
        assert!(
            stderr.contains("an acknowledged commit is lost"),
            "{stderr}"
        );
    }
}

#[tokio::test]
async fn power_is_cut_repeatedly() {
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
        // After a number of commits, while the next ones are under way.
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

/// Cuts the power once the writer has committed this often, and mounts the disk again.
fn write_until_cut(
    disk: &Disk,
    writer: &mut Command,
    commits: u32,
    acked: &mut BTreeSet<(u64, u32)>,
) {
    let mut child = writer.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut left = commits;
    while left > 0 {
        let line = lines.next().unwrap().unwrap();
        left -= u32::from(note_ack(&line, acked));
    }
    // Stopped first: a sync under way would return successfully and be acknowledged.
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
