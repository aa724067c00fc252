//! A disk whose power can be cut: an ext4 file system in a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Enough for thousands of commits.
const BYTES: u64 = 64 << 20;

/// Shuts the file system at the first argument down without flushing its journal:
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, from Linux' `fs/ext4/ext4.h`.
const SHUT_DOWN: &str = r#"
    my ($shutdown, $nologflush) = (0x8004587d, pack("L", 2));
    sysopen(my $mount, $ARGV[0], 0) or die "$!\n";
    ioctl($mount, $shutdown, $nologflush) or die "$!\n";
"#;

/// A mounted file system. It is created in a mount namespace of its own ([`crate::power_cut`]), so the mount and its loop
/// device disappear with the last process in it.
pub(crate) struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Creates a disk and cuts its power once, to find out whether this system can do that.
    pub(crate) fn new() -> Result<Self, String> {
        let disk = Self {
            folder: tempfile::tempdir().map_err(|e| e.to_string())?,
        };
        let image = File::create(disk.image()).map_err(|e| e.to_string())?;
        image.set_len(BYTES).map_err(|e| e.to_string())?;
        std::fs::create_dir(disk.path()).map_err(|e| e.to_string())?;
        run(Command::new("mkfs.ext4").arg("-q").arg(disk.image()))?;
        disk.mount()?;
        disk.shut_down()?;
        disk.restore()?;
        Ok(disk)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn mount(&self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        run(mount
            .args(["-o", "loop"])
            .arg(self.image())
            .arg(self.path()))
    }

    /// Cuts the power: what is not on the disk yet is lost.
    pub(crate) fn shut_down(&self) -> Result<(), String> {
        run(Command::new("perl")
            .args(["-e", SHUT_DOWN])
            .arg(self.path()))
    }

    /// Mounts the disk again. No file on it may be open.
    pub(crate) fn restore(&self) -> Result<(), String> {
        unmount(&self.path())?;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.path());
    }
}

fn unmount(path: &Path) -> Result<(), String> {
    run(Command::new("umount").arg(path))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output();
    let output = output.map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{}: {}",
        command.get_program().display(),
        stderr.trim()
    ))
}
