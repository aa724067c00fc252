//! SIGKILL during commits: every acknowledged commit is stored, and none is stored in part.
//!
//! The child is this test binary again; a variable makes it run [`child_commits_until_it_is_killed`].

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use forgewatch::store::DaemonStore;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::samples::{commit_step, event, id, open, state_in, watch};
use crate::skip::skip;

/// The variable with the writer's file.
const FILE: &str = "STORE_CRASH_FILE";
const WATCHES: u64 = 8;

#[tokio::test]
async fn child_commits_until_it_is_killed() {
    let Some(path) = env::var_os(FILE) else {
        return;
    };
    let (store, state) = open(path.as_ref()).unwrap();
    let mut running = FuturesUnordered::new();
    let next = |n: u64, seq: u32| {
        let store = store.clone();
        async move {
            commit_step(&store, n, seq).await.unwrap();
            (n, seq)
        }
    };
    for n in 1..=WATCHES {
        let stored = state.watches.iter().find(|w| w.id == id(n));
        let seq = stored.map_or(0, |w| w.seq);
        running.push(next(n, seq + 1));
    }
    let mut stdout = std::io::stdout();
    while let Some((n, seq)) = running.next().await {
        writeln!(stdout, "acked {n} {seq}").unwrap();
        running.push(next(n, seq + 1));
    }
}

/// This binary, directly or started by another program, as a writer: it prints `acked` and the numbers of each step once
/// it is committed.
pub(crate) fn writer(mut binary: Command, path: &Path) -> Command {
    binary
        .args(["--exact", "crash::child_commits_until_it_is_killed"])
        .arg("--nocapture")
        .env(FILE, path);
    binary
}

#[tokio::test]
async fn twenty_kills_lose_no_acknowledged_commit_and_leave_none_in_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    let mut acked = BTreeSet::new();
    for round in 0..20_usize {
        let mut child = writer(Command::new(env::current_exe().unwrap()), &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // After a number of commits, while the next ones are under way.
        let mut commits = 0;
        while commits < 1 + round * 7 {
            let line = lines.next().expect("it runs until it is killed").unwrap();
            commits += usize::from(note_ack(&line, &mut acked));
        }
        child.kill().unwrap();
        // Commits that it acknowledged before it died count as well; the last line may be truncated.
        for line in lines.map_while(Result::ok) {
            note_ack(&line, &mut acked);
        }
        child.wait().unwrap();
        check(&path, &acked).await;
    }
    assert!(acked.len() > 1000, "{} commits", acked.len());
}

/// Parses a writer's line; false for any other line.
pub(crate) fn note_ack(line: &str, acked: &mut BTreeSet<(u64, u32)>) -> bool {
    // libtest may have printed something in front of it.
    let Some((_, numbers)) = line.split_once("acked ") else {
        return false;
    };
    let mut numbers = numbers.split(' ').map(str::parse::<u64>);
    if let (Some(Ok(n)), Some(Ok(seq))) = (numbers.next(), numbers.next()) {
        acked.insert((n, seq as u32));
        return true;
    }
    false
}

/// Checks that every acknowledged commit is stored, and none in part.
pub(crate) async fn check(path: &Path, acked: &BTreeSet<(u64, u32)>) {
    let (store, state) = open(path).unwrap();
    for n in 1..=WATCHES {
        let events = store.events_of(id(n)).await.unwrap();
        let seqs: Vec<u32> = events.iter().map(|e| e.id.seq).collect();
        let last = seqs.last().copied().unwrap_or(0);
        assert_eq!(seqs, (1..=last).collect::<Vec<_>>(), "no gaps in watch {n}");
        let watch_found = state.watches.iter().find(|w| w.id == id(n));
        assert_eq!(watch_found.cloned(), (last > 0).then(|| watch(n, last)));
        let deliveries = store.deliveries_of(id(n)).await.unwrap();
        let delivered: Vec<u32> = deliveries.iter().map(|d| d.id.event.seq).collect();
        assert_eq!(delivered, seqs, "an event has its delivery");
        // A truncated line can only name an earlier step.
        let missing = acked.range((n, last + 1)..(n + 1, 0)).next();
        assert_eq!(missing, None, "an acknowledged commit is lost");
        if let Some(last_event) = events.last() {
            let record = serde_json::to_string(&event(n, last).record()).unwrap();
            assert_eq!(last_event.record, record);
        }
    }
    store.close().await;
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_committed_and_no_acknowledged_commit_is_lost() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("needs strace to make a sync fail");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    let mut strace = Command::new("strace");
    strace
        .args([
            "-f",
            "-o",
            "/dev/null",
            "-e",
            "inject=fsync,fdatasync:error=EIO:when=40",
        ])
        .arg(env::current_exe().unwrap());
    let output = writer(strace, &path).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    if !stdout.contains("acked") {
        return skip(&format!("strace is not permitted here: {stderr}"));
    }
    assert!(stderr.contains("Fatal"), "{stderr}");
    let mut acked = BTreeSet::new();
    for line in stdout.lines() {
        note_ack(line, &mut acked);
    }
    check(&path, &acked).await;
}
