//! `state check` and `state recover` on files that are sound and files that are not.

use std::fs::{self, File, TryLockError};
use std::process::Command;
use std::thread;

use forgewatch::store::{
    AddedBy, Archive, JobListUpdate, OpenError, RescueError, SavedWatch, Sqlite, check, recover,
};

use crate::samples::{contents, event, filled, job, state_in, step, watch};

const PAGE: usize = 4096;

#[tokio::test]
async fn a_sound_file_is_found_sound_and_rescued_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    filled(&path, 30).await;
    let rows = check(&path).unwrap();
    assert!(
        rows.contains(&("watches", 30)) && rows.contains(&("events", 90)),
        "{rows:?}"
    );
    let to = folder.path().join("rescued.db");
    let before = fs::read(&path).unwrap();
    let tables = recover(&path, &to).unwrap();
    for (table, (name, rows)) in tables.iter().zip(rows) {
        assert_eq!((table.table, table.rescued, table.lost), (name, rows, 0));
        assert!(!table.cut_off);
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
        ["rescued.db", "rescued.db.lock", "state.db", "state.db.lock"]
    );
}

#[tokio::test]
async fn whatever_page_is_wiped_the_rest_is_rescued_into_a_sound_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    filled(&path, 30).await;
    let sound = fs::read(&path).unwrap();
    let all: u64 = check(&path).unwrap().iter().map(|(_, rows)| rows).sum();
    let newest = 30 * 3;
    let (mut rescued_most, mut lost_some) = (0, 0);
    for page in 0..sound.len() / PAGE {
        let mut damaged = sound.clone();
        damaged[page * PAGE..(page + 1) * PAGE].fill(0xff);
        fs::write(&path, &damaged).unwrap();
        let error = check(&path).unwrap_err();
        assert!(
            matches!(error, OpenError::Corrupt { .. }),
            "page {page}: {error}"
        );
        let to = folder.path().join(format!("rescued-{page}.db"));
        let tables = recover(&path, &to).unwrap();
        assert_eq!(
            fs::read(&path).unwrap(),
            damaged,
            "the old file is left alone"
        );
        let rescued: u64 = tables.iter().map(|t| t.rescued).sum();
        assert!(rescued <= all);
        rescued_most += usize::from(rescued * 10 >= all * 7);
        lost_some += usize::from(rescued < all);
        // How much of the list was cut off is not known, and yet the watches tell all of it.
        let told = tables
            .iter()
            .any(|t| t.lost > 0 || (t.cut_off && t.table != "accepted"));
        assert_eq!(told, rescued < all, "page {page}: {tables:?}");
        let counts = check(&to).unwrap();
        assert_eq!(counts.iter().map(|(_, rows)| rows).sum::<u64>(), rescued);
        let (store, _) = Sqlite::open(&to).unwrap();
        let any = !store.events_since(0, 1).await.unwrap().is_empty();
        step(&store, 99, 1).await.unwrap();
        let told = store.events_since(0, usize::MAX).await.unwrap();
        let new = told.last().unwrap();
        assert_eq!(new.id, event(99, 1).id);
        // With all events lost, nobody can tell how far they were.
        assert!(new.offset > newest || !any, "page {page}: {}", new.offset);
        store.close().await;
    }
    assert!(
        rescued_most > sound.len() / PAGE / 2,
        "{rescued_most} mostly rescued"
    );
    assert!(lost_some > 5, "{lost_some} pages held rows");
}

#[tokio::test]
async fn a_rescue_overwrites_nothing_and_takes_no_file_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    filled(&path, 1).await;
    let to = folder.path().join("there");
    fs::write(&to, "precious").unwrap();
    assert!(matches!(recover(&path, &to), Err(RescueError::Exists(_))));
    assert_eq!(fs::read_to_string(&to).unwrap(), "precious");
    let (store, _) = Sqlite::open(&path).unwrap();
    let busy = recover(&path, &folder.path().join("new"));
    assert!(
        matches!(busy, Err(RescueError::From(OpenError::InUse { .. }))),
        "{busy:?}"
    );
    store.close().await;
    let nowhere = recover(&folder.path().join("none"), &folder.path().join("new"));
    assert!(
        matches!(nowhere, Err(RescueError::From(OpenError::Io { .. }))),
        "{nowhere:?}"
    );
    assert!(check(&folder.path().join("none")).is_err());
}

#[tokio::test]
async fn what_lies_where_a_rescue_would_work_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    filled(&path, 1).await;
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
        matches!(&error, RescueError::Exists(there) if *there == copy),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&copy).unwrap(), "precious");
    assert!(!to.exists());
}

#[tokio::test]
async fn no_daemon_can_start_on_a_file_that_is_being_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    filled(&path, 1).await;
    // The copy waits for what a pipe gives it.
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
async fn of_rubbish_nothing_is_rescued_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    fs::write(&path, vec![0x5a; 10 * PAGE]).unwrap();
    let to = folder.path().join("new.db");
    let nothing = recover(&path, &to);
    assert!(
        matches!(nothing, Err(RescueError::Nothing(_))),
        "{nothing:?}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn the_commands_say_what_they_found_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    filled(&path, 30).await;
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
    insta::assert_snapshot!(run(&["check", "state.db"]).1, @"state.db: sound: 30 watches, 90 events, 90 deliveries, 30 polls, 30 accepted, 1 learnt");
    // The second half of the file is gone.
    let sound = fs::read(&path).unwrap();
    fs::write(&path, &sound[..sound.len() / 2]).unwrap();
    let (status, error) = run(&["check", "state.db"]);
    assert_eq!(status, Some(1));
    assert!(
        error.contains("forgewatch state recover --from state.db"),
        "{error}"
    );
    let (status, told) = run(&["recover", "--from", "state.db"]);
    assert_eq!(status, Some(0), "{told}");
    assert!(
        told.contains("watches: ") && told.contains(" lost"),
        "{told}"
    );
    assert!(
        told.contains("then state.db.recovered to state.db"),
        "{told}"
    );
    assert_eq!(run(&["check", "state.db.recovered"]).0, Some(0));
    let (status, error) = run(&["recover", "--from", "state.db"]);
    assert_eq!(status, Some(1));
    insta::assert_snapshot!(error, @"error: state.db.recovered is there already; name another with --to");
}

#[tokio::test]
async fn a_job_whose_watch_is_lost_looks_new_to_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    filled(&path, 3).await;
    // Within a watch, where its checksum alone notices. Pages fill from behind: the first to be found is the last, of 3.
    let mut bytes = fs::read(&path).unwrap();
    let row = watch(3, 3).row;
    let at = bytes.windows(row.len()).position(|w| w == row.as_bytes());
    bytes[at.unwrap() + 20] ^= 1;
    fs::write(&path, bytes).unwrap();

    let to = folder.path().join("rescued.db");
    let tables = recover(&path, &to).unwrap();
    for (name, rescued, lost) in [("watches", 2, 1), ("accepted", 2, 1), ("events", 9, 0)] {
        let table = tables.iter().find(|t| t.table == name).unwrap();
        assert_eq!((table.rescued, table.lost), (rescued, lost), "{name}");
    }
    let (store, loaded) = Sqlite::open(&to).unwrap();
    let jobs: Vec<_> = loaded
        .config_jobs
        .iter()
        .map(|config_jobs| config_jobs.job)
        .collect();
    assert_eq!(jobs, [job(1), job(2)]);
    store.close().await;
}

#[tokio::test]
async fn a_job_that_the_list_lost_is_put_back_where_its_watch_is_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    filled(&path, 3).await;
    let (store, _) = Sqlite::open(&path).unwrap();
    let by_hand = SavedWatch {
        added_by: AddedBy {
            file: false,
            socket: true,
        },
        ..watch(4, 0)
    };
    let accept = JobListUpdate {
        begin: vec![by_hand],
        ..JobListUpdate::default()
    };
    store.accept(accept).await.unwrap();
    store.close().await;
    let mut bytes = fs::read(&path).unwrap();
    let label = b"\"build\"";
    let at = bytes.windows(label.len()).position(|bytes| bytes == label);
    bytes[at.unwrap() + 1] ^= 1;
    fs::write(&path, bytes).unwrap();

    let to = folder.path().join("rescued.db");
    let tables = recover(&path, &to).unwrap();
    let list = tables.iter().find(|t| t.table == "accepted").unwrap();
    assert_eq!((list.rescued, list.lost), (3, 0));
    let (store, loaded) = Sqlite::open(&to).unwrap();
    let mut jobs: Vec<_> = loaded.config_jobs.iter().map(|a| a.job).collect();
    jobs.sort();
    assert_eq!(jobs, [job(1), job(2), job(3)]);
    store.close().await;
}
