//! Authorizes clients: root, the daemon's own user, and the members of one group.
//!
//! The socket's mode already keeps everyone else out; there, the kernel knows all groups of the process that connects.
//! This is a second check, by the peer's credentials (`SO_PEERCRED`), so that a `chmod` of the socket opens nothing.
//! `SO_PEERCRED` has one group only, so the others are looked up: in `/proc/PID/status`, and in `/etc/group`, because a
//! hardened unit does not see other users' processes. The PID may be reused by then, but exploiting that requires access
//! by the socket's mode anyway. A member by a directory service alone is rejected by a hardened daemon;
//! `sg GROUP -c 'forgewatch …'` makes the group the one in `SO_PEERCRED`.

use std::fs;
use std::io::{self, Read};

use tokio::net::unix::UCred;

/// The user that stands for all unmapped users in a user namespace, so its identity is unknown.
const OVERFLOW_UID: u32 = 65_534;
/// Upper bound for `/etc/group` and the others.
const MAX_FILE_SIZE: u64 = 16 << 20;

#[derive(Debug)]
pub(super) struct PeerAuth {
    own_uid: u32,
    gid: Option<u32>,
}

impl PeerAuth {
    /// Admits root, `own_uid` and the members of the group `gid`.
    pub(super) fn new(own_uid: u32, gid: Option<u32>) -> Self {
        Self { own_uid, gid }
    }

    pub(super) fn admits(&self, peer: &UCred) -> bool {
        let (uid, gid) = (peer.uid(), peer.gid());
        if uid == OVERFLOW_UID {
            return false;
        }
        if uid == 0 || uid == self.own_uid {
            return true;
        }
        self.gid.is_some_and(|group| {
            gid == group
                || peer.pid().is_some_and(|pid| process_has_group(pid, group))
                || is_listed_member(uid, group)
        })
    }
}

pub(super) fn find_group(name: &str) -> io::Result<Option<u32>> {
    Ok(gid_of(&read("/etc/group")?, name))
}

fn process_has_group(pid: i32, group: u32) -> bool {
    read(&format!("/proc/{pid}/status")).is_ok_and(|status| groups_of(&status).any(|g| g == group))
}

/// By `/etc/passwd` and `/etc/group`.
fn is_listed_member(uid: u32, group: u32) -> bool {
    let (Ok(users), Ok(groups)) = (read("/etc/passwd"), read("/etc/group")) else {
        return false;
    };
    name_of(&users, uid).is_some_and(|user| has_member(&groups, group, user))
}

fn read(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_FILE_SIZE)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The `Groups:` line of `/proc/PID/status`.
fn groups_of(status: &str) -> impl Iterator<Item = u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|gid| gid.parse().ok())
}

/// The lines of `/etc/group` as name, gid and members; those of `/etc/passwd` as name, uid and gid.
fn entries(file: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    file.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
        Some((
            name,
            number.parse().ok()?,
            fields.next().unwrap_or_default(),
        ))
    })
}

fn gid_of(groups: &str, name: &str) -> Option<u32> {
    entries(groups).find_map(|(group, gid, _)| (group == name).then_some(gid))
}

fn name_of(users: &str, uid: u32) -> Option<&str> {
    entries(users).find_map(|(name, number, _)| (number == uid).then_some(name))
}

fn has_member(groups: &str, group: u32, user: &str) -> bool {
    entries(groups)
        .filter(|&(_, gid, _)| gid == group)
        .any(|(_, _, members)| members.split(',').any(|member| member == user))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str =
        "root:x:0:\n\n# no entry\nforgewatch-ops:x:990:ann,bob\nothers:x:abc:ann\n";

    #[test]
    fn groups_are_found_by_their_whole_name() {
        assert_eq!(gid_of(GROUPS, "forgewatch-ops"), Some(990));
        assert_eq!(gid_of(GROUPS, "forgewatch"), None);
        assert_eq!(gid_of(GROUPS, "others"), None);
        assert_eq!(gid_of(GROUPS, ""), None);
    }

    #[test]
    fn members_are_found_by_their_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n";
        assert_eq!(name_of(users, 1001), Some("bob"));
        assert_eq!(name_of(users, 1002), None);
        assert!(has_member(GROUPS, 990, "bob"));
        assert!(!has_member(GROUPS, 990, "bo"));
        assert!(!has_member(GROUPS, 0, "bob"));
        assert!(!has_member(GROUPS, 0, "x"));
    }

    #[test]
    fn the_groups_of_a_process_are_read_from_its_status() {
        let status = "Name:\tGroups: 7\nGid:\t5\t5\t5\t5\nGroups:\t4 24 990 \nNStgid:\t1\n";
        assert_eq!(groups_of(status).collect::<Vec<_>>(), [4, 24, 990]);
        assert_eq!(groups_of("Name:\tx\n").count(), 0);
        let own = read("/proc/self/status").unwrap();
        assert!(own.contains("\nGroups:"), "{own}");
    }
}
