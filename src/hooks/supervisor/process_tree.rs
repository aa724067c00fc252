//! The processes below this one, as far as `/proc` tells them: who left its group or its session is among them still.
//!
//! Mounted with `hidepid=` (as under `ProtectProc=`), `/proc` hides who may not be looked into: an agent that guards its
//! memory, a program that may be run and not read. The kernel names such a one among the children of this process all
//! the same, and hands its own children over once it has ended.

use std::collections::{BTreeMap, HashSet};
use std::fs;

use rustix::process::{Pid, Signal, getpgid, getpid, kill_process, kill_process_group};

/// Sends it to every one of them, and to `hook` and its group, which are known by number. Nobody gets it twice.
pub(super) fn signal_all(hook: Option<Pid>, signal: Signal) {
    // Who has ended since is what is wanted.
    let group = hook.filter(|&hook| kill_process_group(hook, signal).is_ok());
    let mut all = descendants();
    all.extend(hook);
    for pid in all {
        if group.is_none() || getpgid(Some(pid)).ok() != group {
            let _ = kill_process(pid, signal);
        }
    }
}

/// Every process below this one that can be seen. One that has ended and waits to be reaped may be among them.
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

/// The children of this process, hidden or not, thread by thread. A kernel without `CONFIG_PROC_CHILDREN` tells none.
fn own_children() -> Vec<i32> {
    let lists = numbers("/proc/self/task")
        .filter_map(|thread| fs::read_to_string(format!("/proc/self/task/{thread}/children")).ok());
    let pids = lists.flat_map(|list| {
        let pids = list.split_ascii_whitespace().map(str::parse);
        pids.filter_map(Result::ok).collect::<Vec<i32>>()
    });
    pids.collect()
}

/// The entries of a folder that are numbers.
fn numbers(folder: &str) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Of one that has ended and waits to be reaped: none. The name in `stat` may hold anything, so what follows it is
/// looked for from behind.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z" && state != "X").then_some(parent)
}
