//! Authorizes clients: root, the daemon's own user, and the members of one group.
//!
//! The socket's mode already keeps everyone else out; there, the kernel knows all groups of the process that connects.
//! This is a second check, by the peer's credentials (`SO_PEERCRED`), so that a `chmod` of the socket opens nothing.
//! `SO_PEERCRED` has one group only, so the others are looked up: in `/proc/PID/status`, and in the user database, because
//! a hardened unit does not see other users' processes. The PID may be reused by then, but exploiting that requires access
//! by the socket's mode anyway.

use std::ffi::CString;
use std::fs;
use std::io;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::net::unix::UCred;
use tokio::task::spawn_blocking;

/// The user that stands for all unmapped users in a user namespace, so its identity is unknown.
const OVERFLOW_UID: u32 = 65_534;

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

    pub(super) async fn admits(&self, peer: &UCred) -> bool {
        let (uid, gid) = (peer.uid(), peer.gid());
        if uid == OVERFLOW_UID {
            return false;
        }
        if uid == 0 || uid == self.own_uid {
            return true;
        }
        let Some(group) = self.gid else {
            return false;
        };
        gid == group
            || peer.pid().is_some_and(|pid| process_has_group(pid, group))
            // A directory service may be slow, and must not delay the daemon.
            || spawn_blocking(move || is_member(uid, group)).await.unwrap_or(false)
    }
}

pub(super) fn find_group(name: &str) -> io::Result<Option<u32>> {
    let group = Group::from_name(name)?;
    Ok(group.map(|group| group.gid.as_raw()))
}

fn process_has_group(pid: i32, group: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .is_ok_and(|status| groups_of(&status).any(|g| g == group))
}

/// By the user database: files, LDAP or whatever the system is configured for.
fn is_member(uid: u32, group: u32) -> bool {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else {
        return false;
    };
    let Ok(name) = CString::new(user.name) else {
        return false;
    };
    getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&Gid::from_raw(group)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_their_whole_name() {
        assert_eq!(find_group("root").unwrap(), Some(0));
        assert_eq!(find_group("roo").unwrap(), None);
        assert_eq!(find_group("").unwrap(), None);
    }

    #[test]
    fn members_are_found_in_the_user_database() {
        assert!(is_member(0, 0));
        assert!(!is_member(0, 4_000_000_000));
        assert!(!is_member(4_000_000_000, 0));
    }

    #[test]
    fn the_groups_of_a_process_are_read_from_its_status() {
        let status = "Name:\tGroups: 7\nGid:\t5\t5\t5\t5\nGroups:\t4 24 990 \nNStgid:\t1\n";
        assert_eq!(groups_of(status).collect::<Vec<_>>(), [4, 24, 990]);
        assert_eq!(groups_of("Name:\tx\n").count(), 0);
        let own = fs::read_to_string("/proc/self/status").unwrap();
        assert!(own.contains("\nGroups:"), "{own}");
    }
}
