//! kill -9 in the middle of commits: what was answered is there, and nothing is there by half.
//!
//! The child is this test binary again, told by a variable to run [`child_commits_until_it_is_killed`] for real.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use forgewatch::store::{Archive, Sqlite};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::samples::{event, id, state_in, step, watch};
use crate::skip::skip;

/// The variable that names the file to a writer.
const FILE: &str = "STORE_CRASH_FILE";
const WATCHES: u64 = 8;

#[tokio::test]
async fn child_commits_until_it_is_killed() {
    let Some(path) = env::var_os(FILE) else {
        return;
    };
    let (store, loaded) = Sqlite::open(path.as_ref()).unwrap();
    let mut running = FuturesUnordered::new();
    let next = |n: u64, seq: u32| {
        let store = store.clone();
        async move {
            step(&store, n, seq).await.unwrap();
            (n, seq)
        }
    };
    for n in 1..=WATCHES {
        let known = loaded.watches.iter().find(|w| w.id == id(n));
        let seq = known.map_or(0, |w| seq_of(&w.row));
        running.push(next(n, seq + 1));
    }
    let mut stdout = std::io::stdout();
    while let Some((n, seq)) = running.next().await {
        writeln!(stdout, "acked {n} {seq}").unwrap();
        running.push(next(n, seq + 1));
    }
}

/// This binary, by itself or behind another program, as a writer of that file: it says `acked` and the numbers of each
/// step once it is committed.
pub(crate) fn writer(mut binary: Command, path: &Path) -> Command {
    binary
        .args(["--exact", "crash::child_commits_until_it_is_killed"])
        .arg("--nocapture")
        .env(FILE, path);
    binary
}

fn seq_of(row: &str) -> u32 {
    let row: serde_json::Value = serde_json::from_str(row).unwrap();
    row["seq"].as_u64().unwrap() as u32
}

#[tokio::test]
async fn twenty_kills_lose_nothing_that_was_acked_and_leave_nothing_half() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    let mut acked = BTreeSet::new();
    for round in 0..20_usize {
        let mut child = writer(Command::new(env::current_exe().unwrap()), &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Not by the clock: after so many answers, in the middle of the next transactions.
        let mut answers = 0;
        while answers < 1 + round * 7 {
            let line = lines.next().expect("it runs until it is killed").unwrap();
            answers += usize::from(note_ack(&line, &mut acked));
        }
        child.kill().unwrap();
        // What it had answered before it died counts as well; the last line may be cut off.
        for line in lines.map_while(Result::ok) {
            note_ack(&line, &mut acked);
        }
        child.wait().unwrap();
        check(&path, &acked).await;
    }
    assert!(acked.len() > 1000, "{} commits", acked.len());
}

/// Reads a writer's line; false where it says something else.
pub(crate) fn note_ack(line: &str, acked: &mut BTreeSet<(u64, u32)>) -> bool {
    // libtest's own words may stand in front, on the same line.
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

/// All that was acked is there, whole, and nothing is there by half.
pub(crate) async fn check(path: &Path, acked: &BTreeSet<(u64, u32)>) {
    let (store, loaded) = Sqlite::open(path).unwrap();
    for n in 1..=WATCHES {
        let events = store.events_of(id(n)).await.unwrap();
        let seqs: Vec<u32> = events.iter().map(|e| e.id.seq).collect();
        let last = seqs.last().copied().unwrap_or(0);
        assert_eq!(seqs, (1..=last).collect::<Vec<_>>(), "no gaps in watch {n}");
        let watch_found = loaded.watches.iter().find(|w| w.id == id(n));
        assert_eq!(watch_found.cloned(), (last > 0).then(|| watch(n, last)));
        let deliveries = store.deliveries_of(id(n)).await.unwrap();
        let delivered: Vec<u32> = deliveries.iter().map(|d| d.id.event.seq).collect();
        assert_eq!(delivered, seqs, "an event has its delivery");
        // A line that was cut off can only be shorter, and so name an earlier step.
        let missing = acked.range((n, last + 1)..(n + 1, 0)).next();
        assert_eq!(missing, None, "acked, and lost");
        if let Some(told) = events.last() {
            let record = serde_json::to_string(&event(n, last).record()).unwrap();
            assert_eq!(told.record, record);
        }
    }
    store.close().await;
}

#[tokio::test]
async fn a_sync_that_fails_ends_the_commits_and_loses_nothing_that_was_acked() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("needs strace, to make a sync fail");
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
        return skip(&format!("strace may not trace here: {stderr}"));
    }
    assert!(stderr.contains("Fatal"), "{stderr}");
    let mut acked = BTreeSet::new();
    for line in stdout.lines() {
        note_ack(line, &mut acked);
    }
    check(&path, &acked).await;
}
