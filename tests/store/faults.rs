//! Faults of disks: full, read-only, flipped bits, truncated files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use forgewatch::store::{DaemonStore, OpenError, SqliteStore, StoreError};
use forgewatch_core::rng::SeededRng;

use crate::samples::{commit_step, contents, create_filled, id, open, state_in};
use crate::skip::skip;

#[tokio::test]
async fn a_flipped_bit_is_detected_at_opening_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    create_filled(&path, 12).await;
    let sound = fs::read(&path).unwrap();
    let expected = contents(&path).await.unwrap();
    let mut rng = SeededRng::new(1);
    let mut detected = 0;
    for flip in 0..200 {
        // Every fourth in the first page: header and schema are a small part of the file, but the most vulnerable.
        let end = if flip % 4 == 0 { 4096 } else { sound.len() };
        let (at, bit) = (rng.index(end), rng.index(8));
        let mut damaged = sound.clone();
        damaged[at] ^= 1 << bit;
        fs::write(&path, &damaged).unwrap();
        match contents(&path).await {
            Ok(read) => assert_eq!(read, expected, "bit {bit} of byte {at}"),
            Err(error) => {
                detected += 1;
                assert_eq!(
                    fs::read(&path).unwrap(),
                    damaged,
                    "{error}: the file was changed"
                );
            }
        }
        for extension in ["db-wal", "db-shm"] {
            let _ = fs::remove_file(path.with_extension(extension));
        }
    }
    assert!(detected > 70, "{detected} of 200 detected");
}

#[tokio::test]
async fn a_truncated_file_is_damaged_wherever_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    create_filled(&path, 12).await;
    let sound = fs::read(&path).unwrap();
    let pages = sound.len() / 4096;
    assert!(pages > 10);
    for cut in (0..pages).flat_map(|page| [page * 4096, page * 4096 + 2000]) {
        fs::write(&path, &sound[..cut]).unwrap();
        let error = contents(&path).await.expect_err("truncated");
        assert!(
            matches!(error, OpenError::Corrupt { .. } | OpenError::Io { .. }),
            "{cut} bytes: {error}"
        );
        assert_eq!(fs::read(&path).unwrap().len(), cut, "the file is unchanged");
        for extension in ["db-wal", "db-shm"] {
            let _ = fs::remove_file(path.with_extension(extension));
        }
    }
}

/// A small file system; needs root.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            skip("needs root to mount a small file system");
        }
        mounted.then(|| Self(at.to_owned()))
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", options])
            .arg(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_stores_no_commit_in_part_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Tmpfs::mount(&folder.path().join("disk"), "8m") else {
        return;
    };
    let path = disk.0.join("state.db");
    let (store, _) = SqliteStore::open(&path).unwrap();
    let filler = disk.0.join("filler");
    fs::write(&filler, vec![0; 6 << 20]).unwrap();
    let (mut seq, mut failures) = (1, 0);
    // Checkpoints free space in the WAL while the file can grow; in the end there is none.
    while failures < 20 {
        match commit_step(&store, 1, seq).await {
            Ok(()) => (seq, failures) = (seq + 1, 0),
            Err(StoreError::Unavailable(_)) => failures += 1,
            Err(error) => panic!("{error}"),
        }
        let events = store.events_of(id(1)).await.unwrap();
        assert_eq!(events.len(), seq as usize - 1);
    }
    assert!(seq > 3);
    fs::remove_file(&filler).unwrap();
    for _ in 0..20 {
        commit_step(&store, 1, seq).await.unwrap();
        seq += 1;
    }
    store.close().await;
    let (store, state) = open(&path).unwrap();
    assert_eq!(state.deliveries.len(), seq as usize - 1);
    assert_eq!(
        store.events_of(id(1)).await.unwrap().len(),
        seq as usize - 1
    );
    store.close().await;
}

#[tokio::test]
async fn a_startup_on_a_full_disk_loads_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Tmpfs::mount(&folder.path().join("disk"), "1m") else {
        return;
    };
    let path = disk.0.join("state.db");
    create_filled(&path, 3).await;
    // Leaves the space that SQLite needs for opening the file, and no more.
    let _ = fs::write(disk.0.join("filler"), vec![0; 1 << 20]);
    fs::OpenOptions::new()
        .write(true)
        .open(disk.0.join("filler"))
        .and_then(|file| file.set_len(file.metadata()?.len() - (36 << 10)))
        .unwrap();
    let (store, state) = open(&path).unwrap();
    assert_eq!(state.watches.len(), 3);
    assert!(matches!(
        commit_step(&store, 1, 9).await,
        Err(StoreError::Unavailable(_))
    ));
    fs::remove_file(disk.0.join("filler")).unwrap();
    commit_step(&store, 1, 9).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_read_only_folder_is_reported_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Tmpfs::mount(&folder.path().join("disk"), "1m") else {
        return;
    };
    let path = disk.0.join("state.db");
    create_filled(&path, 1).await;
    disk.remount("remount,ro");
    for name in ["state.db", "new.db"] {
        let error = SqliteStore::open(&disk.0.join(name)).unwrap_err();
        assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
        assert!(error.to_string().contains("is read-only"), "{error}");
    }
}
