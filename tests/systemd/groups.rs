//! Control groups for the container alone: otherwise, concurrent tests would share one that is never removed.

use std::fs;
use std::path::{Path, PathBuf};

/// Created below the groups of this process, in the hierarchies that systemd uses. Removed when dropped.
pub(crate) struct ControlGroups(Vec<PathBuf>);

impl ControlGroups {
    pub(crate) fn new(name: &str) -> Self {
        let mine = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut groups = Vec::new();
        for line in mine.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(kind), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let trees: &[&str] = match kind {
                "" => &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
                "name=systemd" => &["/sys/fs/cgroup/systemd"],
                _ => &[],
            };
            for tree in trees {
                let parent = Path::new(tree).join(path.trim_start_matches('/'));
                let group = parent.join(name);
                if parent.join("cgroup.procs").exists() && fs::create_dir(&group).is_ok() {
                    groups.push(group);
                }
            }
        }
        Self(groups)
    }

    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.0
    }
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        for group in &self.0 {
            remove(group);
        }
    }
}

/// A control group can be removed with its files, but only after the groups below it.
fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
