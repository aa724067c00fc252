//! Control groups of the container's own: two tests at once would share one otherwise, and it would stay behind.

use std::fs;
use std::path::{Path, PathBuf};

/// Below this process's own groups, in the hierarchies that systemd knows. Removed when dropped.
pub(crate) struct Groups(Vec<PathBuf>);

impl Groups {
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

impl Drop for Groups {
    fn drop(&mut self) {
        for group in &self.0 {
            remove(group);
        }
    }
}

/// A group can be removed once there is none in it; the files in it do not count.
fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
