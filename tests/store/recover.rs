//! `state check` and `state recover` on intact and damaged files.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::process::Command;
use std::thread;

use forgewatch::store::{
    AddedBy, Commit, DaemonStore, JobListUpdate, OpenError, RecoverError, SavedWatch, SqliteStore,
    Store, check, recover,
};
use forgewatch_core::delivery::{DeliveryChange, DeliveryFailure};

use crate::samples::{
    commit_step, contents, create_filled, delivery, ended, event, job, open, state_in, watch,
};

const PAGE: usize = 4096;

#[tokio::test]
async fn an_intact_file_passes_the_check_and_is_recovered_completely() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    create_filled(&path, 30).await;
    let rows = check(&path).unwrap();
    assert!(
        rows.contains(&("watches", 30)) && rows.contains(&("events", 90)),
        "{rows:?}"
    );
    let to = folder.path().join("recovered.db");
    let before = fs::read(&path).unwrap();
    let tables = recover(&path, &to).unwrap();
    for (table, (name, rows)) in tables.iter().zip(rows) {
        assert_eq!((table.table, table.recovered, table.lost), (name, rows, 0));
        assert!(!table.truncated);
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(contents(&to).await.unwrap(), contents(&path).await.unwrap());
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(
        left,
        [
            "recovered.db",
            "recovered.db.lock",
            "state.db",
            "state.db.lock"
        ]
    );
}

#[tokio::test]
async fn whichever_page_is_wiped_the_rest_is_recovered_into_an_intact_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    create_filled(&path, 30).await;
    let sound = fs::read(&path).unwrap();
    let all: u64 = check(&path).unwrap().iter().map(|(_, rows)| rows).sum();
    let newest = 30 * 3;
    let (mut mostly_recovered, mut with_losses) = (0, 0);
    for page in 0..sound.len() / PAGE {
        let mut damaged = sound.clone();
        damaged[page * PAGE..(page + 1) * PAGE].fill(0xff);
        fs::write(&path, &damaged).unwrap();
        let error = check(&path).unwrap_err();
        assert!(
            matches!(error, OpenError::Corrupt { .. }),
            "page {page}: {error}"
        );
        let to = folder.path().join(format!("recovered-{page}.db"));
        let tables = recover(&path, &to).unwrap();
        assert_eq!(
            fs::read(&path).unwrap(),
            damaged,
            "the old file is unchanged"
        );
        let recovered: u64 = tables.iter().map(|t| t.recovered).sum();
        assert!(recovered <= all);
        mostly_recovered += usize::from(recovered * 10 >= all * 7);
        with_losses += usize::from(recovered < all);
        // A table that lost its upper pages is reported as truncated, even if all of its rows were found.
        let has_lost = tables.iter().any(|t| t.lost > 0);
        let is_reported = has_lost
            || tables
                .iter()
                .any(|t| t.truncated && t.table != "config_jobs");
        assert!(is_reported || recovered == all, "page {page}: {tables:?}");
        assert!(!has_lost || recovered < all, "page {page}: {tables:?}");
        let counts = check(&to).unwrap();
        assert_eq!(counts.iter().map(|(_, rows)| rows).sum::<u64>(), recovered);
        let (store, _) = SqliteStore::open(&to).unwrap();
        let has_events = !store.events_since(0, 1).await.unwrap().is_empty();
        commit_step(&store, 99, 1).await.unwrap();
        let events = store.events_since(0, usize::MAX).await.unwrap();
        let new = events.last().unwrap();
        assert_eq!(new.id, event(99, 1).id);
        // If all events are lost, so is the highest offset.
        assert!(
            new.offset > newest || !has_events,
            "page {page}: {}",
            new.offset
        );
        store.close().await;
    }
    assert!(
        mostly_recovered > sound.len() / PAGE / 2,
        "{mostly_recovered} mostly recovered"
    );
    assert!(with_losses > 5, "{with_losses} pages contained rows");
}

#[tokio::test]
async fn recovery_overwrites_nothing_and_rejects_a_file_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    create_filled(&path, 1).await;
    let to = folder.path().join("existing");
    fs::write(&to, "precious").unwrap();
    assert!(matches!(recover(&path, &to), Err(RecoverError::Exists(_))));
    assert_eq!(fs::read_to_string(&to).unwrap(), "precious");
    let (store, _) = SqliteStore::open(&path).unwrap();
    let busy = recover(&path, &folder.path().join("new"));
    assert!(
        matches!(busy, Err(RecoverError::From(OpenError::InUse { .. }))),
        "{busy:?}"
    );
    store.close().await;
    let missing = recover(&folder.path().join("none"), &folder.path().join("new"));
    assert!(
        matches!(missing, Err(RecoverError::From(OpenError::Io { .. }))),
        "{missing:?}"
    );
    assert!(check(&folder.path().join("none")).is_err());
}

#[tokio::test]
async fn recovery_leaves_files_next_to_the_new_one_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    create_filled(&path, 1).await;
    let (to, copy) = (folder.path().join("to"), folder.path().join("to.copy"));
    for name in ["to.new", "to.copy-wal"] {
        fs::write(folder.path().join(name), "precious").unwrap();
    }
    recover(&path, &to).unwrap();
    for name in ["to.new", "to.copy-wal"] {
        let left = fs::read_to_string(folder.path().join(name));
        assert_eq!(left.unwrap(), "precious", "{name}");
    }
    fs::remove_file(&to).unwrap();
    fs::write(&copy, "precious").unwrap();
    let error = recover(&path, &to).unwrap_err();
    assert!(
        matches!(&error, RecoverError::Exists(path) if *path == copy),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&copy).unwrap(), "precious");
    assert!(!to.exists());
}

#[tokio::test]
async fn the_file_is_locked_while_it_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    create_filled(&path, 1).await;
    // Copying blocks on the pipe.
    let wal = folder.path().join("state.db-wal");
    assert!(Command::new("mkfifo").arg(&wal).status().unwrap().success());
    let lock = || {
        let lock = File::open(folder.path().join("state.db.lock")).unwrap();
        lock.try_lock()
    };
    let to = folder.path().join("new.db");
    let recovery = {
        let (path, to) = (path.clone(), to.clone());
        thread::spawn(move || recover(&path, &to))
    };
    let pipe = File::options().write(true).open(&wal).unwrap();
    assert!(matches!(lock(), Err(TryLockError::WouldBlock)));
    drop(pipe);
    recovery.join().unwrap().unwrap();
    assert!(lock().is_ok());
    check(&to).unwrap();
}

#[tokio::test]
async fn recovering_a_file_without_readable_rows_fails_and_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    fs::write(&path, vec![0x5a; 10 * PAGE]).unwrap();
    let to = folder.path().join("new.db");
    let nothing = recover(&path, &to);
    assert!(
        matches!(nothing, Err(RecoverError::NothingReadable(_))),
        "{nothing:?}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn the_commands_print_their_findings_and_the_next_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    create_filled(&path, 30).await;
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_forgewatch"))
            .current_dir(folder.path())
            .arg("state")
            .args(args)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    insta::assert_snapshot!(run(&["check", "state.db"]).1, @"state.db: ok: 30 watches, 90 events, 90 deliveries, 30 polls, 30 config_jobs, 1 calibration");
    // Truncates the file to half its size.
    let sound = fs::read(&path).unwrap();
    fs::write(&path, &sound[..sound.len() / 2]).unwrap();
    let (status, error) = run(&["check", "state.db"]);
    assert_eq!(status, Some(1));
    assert!(
        error.contains("forgewatch state recover --from state.db"),
        "{error}"
    );
    let (status, output) = run(&["recover", "--from", "state.db"]);
    assert_eq!(status, Some(0), "{output}");
    assert!(
        output.contains("watches: ") && output.contains(" lost"),
        "{output}"
    );
    assert!(
        output.contains("then move state.db.recovered to state.db"),
        "{output}"
    );
    assert_eq!(run(&["check", "state.db.recovered"]).0, Some(0));
    let (status, error) = run(&["recover", "--from", "state.db"]);
    assert_eq!(status, Some(1));
    insta::assert_snapshot!(error, @"error: state.db.recovered already exists; use another file with --to");
}

#[tokio::test]
async fn a_job_whose_watch_is_lost_counts_as_new_at_the_next_startup() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    create_filled(&path, 3).await;
    // Within a watch, where only the checksum detects it. Pages fill from the end: the first one in the file is watch 3.
    let mut bytes = fs::read(&path).unwrap();
    let text = watch(3, 3).snapshot;
    let at = bytes.windows(text.len()).position(|w| w == text.as_bytes());
    bytes[at.unwrap() + 20] ^= 1;
    fs::write(&path, bytes).unwrap();

    let to = folder.path().join("recovered.db");
    let tables = recover(&path, &to).unwrap();
    for (name, recovered, lost) in [("watches", 2, 1), ("config_jobs", 2, 1), ("events", 9, 0)] {
        let table = tables.iter().find(|t| t.table == name).unwrap();
        assert_eq!((table.recovered, table.lost), (recovered, lost), "{name}");
    }
    let (store, state) = open(&to).unwrap();
    let jobs: Vec<_> = state.config_jobs.iter().map(|listed| listed.job).collect();
    assert_eq!(jobs, [job(1), job(2)]);
    store.close().await;
}

#[tokio::test]
async fn a_lost_config_job_is_restored_from_its_watch() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    create_filled(&path, 3).await;
    let (store, _) = SqliteStore::open(&path).unwrap();
    let by_client = SavedWatch {
        added_by: AddedBy {
            file: false,
            socket: true,
        },
        ..watch(4, 0)
    };
    let update = JobListUpdate {
        new_watches: vec![by_client],
        ..JobListUpdate::default()
    };
    store.update_jobs(update).await.unwrap();
    store.close().await;
    let mut bytes = fs::read(&path).unwrap();
    let label = b"\"build\"";
    let at = bytes.windows(label.len()).position(|bytes| bytes == label);
    bytes[at.unwrap() + 1] ^= 1;
    fs::write(&path, bytes).unwrap();

    let to = folder.path().join("recovered.db");
    let tables = recover(&path, &to).unwrap();
    let list = tables.iter().find(|t| t.table == "config_jobs").unwrap();
    assert_eq!((list.recovered, list.lost), (3, 0));
    let (store, state) = open(&to).unwrap();
    let mut jobs: Vec<_> = state.config_jobs.iter().map(|a| a.job).collect();
    jobs.sort();
    assert_eq!(jobs, [job(1), job(2), job(3)]);
    store.close().await;
}

/// Creates a file with this many watches, every tenth with a snapshot of several pages, and events with discarded and
/// pruned deliveries. Returns the watches that are left.
async fn create_large(path: &Path, watches: u64) -> Vec<SavedWatch> {
    let (store, _) = SqliteStore::open(path).unwrap();
    let large = |n: u64| SavedWatch {
        snapshot: match n % 10 {
            0 => format!("{{\"long\":\"{}\"}}", "y".repeat(9_000 + n as usize)),
            _ => format!("{{\"long\":\"{}\"}}", "z".repeat(2_500)),
        },
        ..watch(n, 2)
    };
    let all: Vec<SavedWatch> = (1..=watches).map(large).collect();
    let update = JobListUpdate {
        new_watches: all.clone(),
        ..JobListUpdate::default()
    };
    store.update_jobs(update).await.unwrap();
    // These are discarded, and half of them pruned with their watches.
    for n in watches + 1..=watches + 100 {
        commit_step(&store, n, 1).await.unwrap();
        let id = || delivery(n, 1);
        let changes = [
            DeliveryChange::Fail {
                id: id(),
                why: DeliveryFailure::new("exit status 1"),
            },
            DeliveryChange::Discard { id: id() },
        ];
        let commit = Commit {
            watch: Some(ended(n, 1, i64::try_from(n).unwrap())),
            changes: &changes,
            ..Commit::default()
        };
        store.commit(commit).await.unwrap();
    }
    while store.prune(pruned_to(watches)).await.unwrap() > 0 {}
    store.close().await;
    all
}

/// Of so many watches, those that ended before this time are pruned.
fn pruned_to(watches: u64) -> i64 {
    i64::try_from(watches + 50).unwrap()
}

/// Cuts the file at this length, and recovers what is left into a new file.
fn recover_cut(path: &Path, sound: &[u8], length: usize) -> std::path::PathBuf {
    fs::write(path, &sound[..length]).unwrap();
    let to = path.with_extension(format!("{length}"));
    recover(path, &to).unwrap();
    check(&to).unwrap();
    to
}

/// Where the row of each watch ends in the file; None for a row of several pages. A row within one page contains its
/// values as they are.
fn row_ends(file: &[u8], watches: &[SavedWatch]) -> Vec<Option<usize>> {
    let mut ends = vec![None; watches.len()];
    let at: BTreeMap<[u8; 16], usize> = watches.iter().map(|w| w.id.0).zip(0..).collect();
    for (start, id) in file.windows(16).enumerate() {
        let Some(&index) = id.try_into().ok().and_then(|id: [u8; 16]| at.get(&id)) else {
            continue;
        };
        let SavedWatch { job, snapshot, .. } = &watches[index];
        let row = [id, job.to_string().as_bytes(), snapshot.as_bytes()].concat();
        if file[start..].starts_with(&row) {
            ends[index] = Some(start + row.len());
        }
    }
    ends
}

#[tokio::test]
async fn every_watch_in_the_rest_of_a_cut_file_is_recovered_and_no_discarded_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    let all = create_large(&path, 700).await;
    let sound = fs::read(&path).unwrap();
    let ends = row_ends(&sound, &all);
    for percent in [25, 50, 75] {
        let aligned = sound.len() * percent / 100 / PAGE * PAGE;
        for length in [aligned, aligned + 1234] {
            let to = recover_cut(&path, &sound, length);
            let (store, state) = open(&to).unwrap();
            assert_eq!(state.deliveries, []);
            assert_eq!(store.failed_deliveries(9).await, Ok((Vec::new(), 0)));
            let ended = store
                .other_watches(Some(0), None, usize::MAX)
                .await
                .unwrap();
            let is_pruned = |watch: &SavedWatch| watch.ended_wall_ms < Some(pruned_to(700));
            assert!(!ended.iter().any(is_pruned), "{percent} %");
            store.close().await;
            let mut expected = 0;
            for (saved, end) in all.iter().zip(&ends) {
                let is_within = end.is_some_and(|end| end <= aligned);
                let found = state.watches.iter().find(|watch| watch.id == saved.id);
                assert!(found.is_none_or(|found| found == saved), "{}", saved.job);
                assert!(!is_within || found.is_some(), "{percent} %: {}", saved.job);
                expected += usize::from(is_within);
            }
            assert!(expected > 50, "{percent} %: {expected}");
            let long = |watch: &&SavedWatch| watch.snapshot.len() > PAGE;
            assert!(state.watches.iter().filter(long).count() > 5, "{percent} %");
        }
    }
}

#[tokio::test]
async fn flipped_bytes_bring_no_row_back_that_was_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    let all = create_large(&path, 100).await;
    let sound = fs::read(&path).unwrap();
    let mut random = 7_u64;
    let mut below = |limit: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % limit
    };
    for round in 0..40 {
        let length = sound.len() / 4 + below(sound.len() * 3 / 4);
        let mut damaged = sound[..length].to_vec();
        for _ in 0..1 << (round % 10) {
            damaged[below(length)] ^= 1 << below(8);
        }
        fs::write(&path, &damaged).unwrap();
        let to = folder.path().join(format!("recovered-{round}"));
        match recover(&path, &to) {
            Ok(_) => {
                check(&to).unwrap();
                let (store, state) = open(&to).unwrap();
                assert!(state.watches.iter().all(|watch| all.contains(watch)));
                assert_eq!(state.deliveries, []);
                store.close().await;
            }
            Err(error) => assert!(
                matches!(
                    error,
                    RecoverError::NothingReadable(_) | RecoverError::From(OpenError::Newer { .. })
                ),
                "{error}"
            ),
        }
    }
}
