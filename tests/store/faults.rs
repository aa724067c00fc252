//! What disks do: full, read-only, flipped bits, files cut short.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use forgewatch::store::{Archive, OpenError, Sqlite, StoreError};

use crate::samples::{contents, filled, id, state_in, step};
use crate::skip::skip;

/// Numbers that are the same in every run.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[tokio::test]
async fn a_flipped_bit_is_found_at_opening_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    filled(&path, 12).await;
    let sound = fs::read(&path).unwrap();
    let truth = contents(&path).await.unwrap();
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
    let mut found = 0;
    for flip in 0..200 {
        // Every fourth in the first page: header and definitions are a small part of the file, and the weakest.
        let end = if flip % 4 == 0 { 4096 } else { sound.len() };
        let (at, bit) = (rng.below(end), rng.below(8));
        let mut damaged = sound.clone();
        damaged[at] ^= 1 << bit;
        fs::write(&path, &damaged).unwrap();
        match contents(&path).await {
            Ok(read) => assert_eq!(read, truth, "bit {bit} of byte {at} made it read wrong"),
            Err(error) => {
                found += 1;
                assert_eq!(fs::read(&path).unwrap(), damaged, "{error}: and changed it");
            }
        }
        for beside in ["db-wal", "db-shm"] {
            let _ = fs::remove_file(path.with_extension(beside));
        }
    }
    assert!(found > 70, "{found} of 200 found");
}

#[tokio::test]
async fn a_file_cut_short_anywhere_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_in(&folder);
    filled(&path, 12).await;
    let sound = fs::read(&path).unwrap();
    let pages = sound.len() / 4096;
    assert!(pages > 10);
    for cut in (0..pages).flat_map(|page| [page * 4096, page * 4096 + 2000]) {
        fs::write(&path, &sound[..cut]).unwrap();
        let error = contents(&path).await.expect_err("cut short");
        assert!(
            matches!(error, OpenError::Corrupt { .. } | OpenError::Io { .. }),
            "{cut} bytes: {error}"
        );
        assert_eq!(fs::read(&path).unwrap().len(), cut, "left alone");
        for beside in ["db-wal", "db-shm"] {
            let _ = fs::remove_file(path.with_extension(beside));
        }
    }
}

/// A small file system of its own, where root is there.
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
            skip("needs root, to mount a small file system");
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
async fn a_full_disk_takes_nothing_by_half_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Tmpfs::mount(&folder.path().join("disk"), "8m") else {
        return;
    };
    let path = disk.0.join("state.db");
    let (store, _) = Sqlite::open(&path).unwrap();
    let filler = disk.0.join("filler");
    fs::write(&filler, vec![0; 6 << 20]).unwrap();
    let (mut seq, mut refused) = (1, 0);
    // Space in the WAL comes back while the file can still grow; in the end there is none at all.
    while refused < 20 {
        match step(&store, 1, seq).await {
            Ok(()) => (seq, refused) = (seq + 1, 0),
            Err(StoreError::Full(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        let told = store.events_of(id(1)).await.unwrap();
        assert_eq!(told.len(), seq as usize - 1);
    }
    assert!(seq > 3);
    fs::remove_file(&filler).unwrap();
    for _ in 0..20 {
        step(&store, 1, seq).await.unwrap();
        seq += 1;
    }
    store.close().await;
    let (store, loaded) = Sqlite::open(&path).unwrap();
    assert_eq!(loaded.deliveries.len(), seq as usize - 1);
    assert_eq!(
        store.events_of(id(1)).await.unwrap().len(),
        seq as usize - 1
    );
    store.close().await;
}

#[tokio::test]
async fn a_start_on_a_full_disk_goes_on_from_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Tmpfs::mount(&folder.path().join("disk"), "1m") else {
        return;
    };
    let path = disk.0.join("state.db");
    filled(&path, 3).await;
    // Room for what SQLite needs to look into the file at all, and no more.
    let _ = fs::write(disk.0.join("filler"), vec![0; 1 << 20]);
    fs::OpenOptions::new()
        .write(true)
        .open(disk.0.join("filler"))
        .and_then(|file| file.set_len(file.metadata()?.len() - (36 << 10)))
        .unwrap();
    let (store, loaded) = Sqlite::open(&path).unwrap();
    assert_eq!(loaded.watches.len(), 3);
    assert!(matches!(step(&store, 1, 9).await, Err(StoreError::Full(_))));
    fs::remove_file(disk.0.join("filler")).unwrap();
    step(&store, 1, 9).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_folder_that_is_read_only_is_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Tmpfs::mount(&folder.path().join("disk"), "1m") else {
        return;
    };
    let path = disk.0.join("state.db");
    filled(&path, 1).await;
    disk.remount("remount,ro");
    for name in ["state.db", "new.db"] {
        let error = Sqlite::open(&disk.0.join(name)).unwrap_err();
        assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
        assert!(error.to_string().contains("can't be written"), "{error}");
    }
}
