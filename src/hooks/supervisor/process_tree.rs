//! The descendants of this process, read from `/proc`, including those that left their group or session.
//!
//! Mounted with `hidepid=` (as with `ProtectProc=`), `/proc` hides processes that may not be inspected, such as a program
//! that may be executed and not read. The kernel still lists a hidden child among the children of this process, and
//! gives its children to this process once it has ended.

use std::collections::{BTreeMap, HashSet};
use std::fs;

use rustix::process::{Pid, Signal, getpgid, getpid, kill_process, kill_process_group};

/// Sends the signal once to each descendant, and to `hook` and its process group.
pub(super) fn signal_all(hook: Option<Pid>, signal: Signal) {
    // An error means that the process has ended already.
    let group = hook.filter(|&hook| kill_process_group(hook, signal).is_ok());
    let mut all = descendants();
    all.extend(hook);
    for pid in all {
        if group.is_none() || getpgid(Some(pid)).ok() != group {
            let _ = kill_process(pid, signal);
        }
    }
}

/// Every visible descendant. A zombie may be among them.
fn descendants() -> HashSet<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for pid in numbers("/proc") {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = own_children();
    found.extend(
        children
            .remove(&getpid().as_raw_nonzero().get())
            .unwrap_or_default(),
    );
    let mut at = 0;
    while let Some(&pid) = found.get(at) {
        found.extend(children.remove(&pid).unwrap_or_default());
        at += 1;
    }
    found.into_iter().filter_map(Pid::from_raw).collect()
}

/// The children of this process, hidden ones included, per thread; empty without `CONFIG_PROC_CHILDREN`.
fn own_children() -> Vec<i32> {
    let lists = numbers("/proc/self/task")
        .filter_map(|thread| fs::read_to_string(format!("/proc/self/task/{thread}/children")).ok());
    let pids = lists.flat_map(|list| {
        let pids = list.split_ascii_whitespace().map(str::parse);
        pids.filter_map(Result::ok).collect::<Vec<i32>>()
    });
    pids.collect()
}

/// The numeric entries of a directory.
fn numbers(directory: &str) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The parent of a process; None for a zombie. The name in `stat` may contain anything, so the fields after it are found
/// from the last parenthesis.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z" && state != "X").then_some(parent)
}
