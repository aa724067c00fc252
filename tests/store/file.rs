//! The state file: its lock, permissions and location, and the number of transactions.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use forgewatch::store::{DaemonStore, OpenError, SqliteStore};
use futures_util::future::join_all;
use rusqlite::Connection;

use crate::samples::{commit_step, contents, create_filled, state_in};

#[test]
fn the_bundled_sqlite_has_the_fix_of_the_wal_reset_race() {
    assert!(
        rusqlite::version_number() >= 3_051_003,
        "{}",
        rusqlite::version()
    );
}

#[tokio::test]
async fn opening_a_locked_file_fails_and_names_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    let (store, _) = SqliteStore::open(&path).unwrap();
    commit_step(&store, 1, 1).await.unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    let pid = Some(std::process::id());
    assert_eq!(
        error,
        OpenError::InUse {
            path: path.clone(),
            pid
        }
    );
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", std::process::id()))
    );
    commit_step(&store, 1, 2).await.unwrap();
    store.close().await;
    assert!(commit_step(&store, 1, 3).await.is_err(), "closed");
    SqliteStore::open(&path).unwrap().0.close().await;
}

#[tokio::test]
async fn folder_and_files_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/new/folder/state.db");
    let (store, _) = SqliteStore::open(&path).unwrap();
    commit_step(&store, 1, 1).await.unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap().path();
        assert_eq!(mode(&entry), 0o600, "{}", entry.display());
    }
    store.close().await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
    SqliteStore::open(&path).unwrap().0.close().await;
    assert_eq!(mode(&path), 0o600);
}

#[tokio::test]
async fn a_link_is_rejected_and_its_target_is_unchanged() {
    for name in ["state.db", "state.db.lock", "state.db-wal", "state.db-shm"] {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::write(&target, "precious").unwrap();
        symlink(&target, folder.path().join(name)).unwrap();
        let error = SqliteStore::open(&state_in(&folder)).unwrap_err();
        assert!(
            error.to_string().contains("is not a regular file"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }
}

#[tokio::test]
async fn a_link_in_the_path_of_the_folder_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("private")).unwrap();
    symlink("private", folder.path().join("public")).unwrap();
    let (store, _) = SqliteStore::open(&folder.path().join("public/state.db")).unwrap();
    store.close().await;
    assert!(folder.path().join("private/state.db").exists());
}

#[tokio::test]
async fn queued_commits_share_a_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    let (store, _) = SqliteStore::open(&path).unwrap();
    commit_step(&store, 1, 1).await.unwrap();
    let frames = || wal_transactions(&path);
    let before = frames();
    let all = join_all((1..=500).map(|n| commit_step(&store, n, 2))).await;
    assert!(all.iter().all(Result::is_ok));
    let events = store.events_since(0, usize::MAX).await.unwrap();
    assert_eq!(events.len(), 501);
    let transactions = frames() - before;
    assert!(
        (1..=20).contains(&transactions),
        "{transactions} transactions"
    );
    store.close().await;
}

/// The number of commit frames in the WAL: those whose "size of the database" is not zero.
fn wal_transactions(path: &std::path::Path) -> usize {
    let wal = fs::read(path.with_extension("db-wal")).unwrap();
    let frames = wal[32..].chunks_exact(24 + 4096);
    frames.filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test]
async fn other_programs_can_read_during_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    let (store, _) = SqliteStore::open(&path).unwrap();
    commit_step(&store, 1, 1).await.unwrap();
    let reader =
        Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let count = || -> i64 {
        let sql = "SELECT count(*) FROM events";
        reader.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(), 1);
    for seq in 2..=400 {
        commit_step(&store, 1, seq).await.unwrap();
    }
    assert_eq!(count(), 1, "a snapshot of the start of its transaction");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(), 400);
    let counts = forgewatch::store::check(&path).unwrap();
    assert!(counts.contains(&("events", 400)), "{counts:?}");
    store.close().await;
}

#[tokio::test]
async fn a_long_wal_is_checkpointed() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    let (store, _) = SqliteStore::open(&path).unwrap();
    for seq in 1..=1500 {
        commit_step(&store, 1, seq).await.unwrap();
    }
    let wal = fs::metadata(path.with_extension("db-wal")).unwrap().len();
    assert!(wal < 8 << 20, "{wal} bytes");
    assert!(fs::metadata(&path).unwrap().len() > 500_000);
    store.close().await;
}

#[tokio::test]
async fn a_file_of_another_version_or_program_is_rejected_and_unchanged() {
    for (pragma, message) in [
        ("user_version = 99", "version 99"),
        ("application_id = 7", "not a forgewatch state file"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = state_in(&folder);
        create_filled(&path, 1).await;
        let db = Connection::open(&path).unwrap();
        db.execute_batch(&format!("PRAGMA journal_mode = DELETE; PRAGMA {pragma}"))
            .unwrap();
        drop(db);
        let before = fs::read(&path).unwrap();
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn an_empty_file_and_a_wal_alone_are_damaged_rather_than_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    fs::write(&path, "").unwrap();
    let error = contents(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    fs::rename(&path, path.with_extension("db-wal")).unwrap();
    let error = contents(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("forgewatch state recover --from"),
        "{error}"
    );
}

#[tokio::test]
async fn a_store_that_is_dropped_without_closing_keeps_its_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    let (store, _) = SqliteStore::open(&path).unwrap();
    commit_step(&store, 1, 1).await.unwrap();
    drop(store);
    // The thread ends by itself once all handles are dropped.
    let store = loop {
        match SqliteStore::open(&path) {
            Ok((store, _)) => break store,
            Err(OpenError::InUse { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(store.events_since(0, 9).await.unwrap().len(), 1);
    store.close().await;
}
