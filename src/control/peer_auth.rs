//! Who may speak: root, the daemon's own user, and the members of one group.
//!
//! The socket's mode keeps others out already: the kernel looks at it when somebody connects, and knows all groups of
//! theirs. This looks again, by what the kernel tells of the peer (`SO_PEERCRED`), so that a mode that was loosened opens
//! nothing. The kernel tells one group alone, so the others are looked up: in `/proc/PID/status`, and, as a hardened
//! unit does not see the processes of others there, in `/etc/group`. By then the PID may be somebody else's; but that
//! one could gain by it who had got past the mode. A member by a directory service alone, of a hardened daemon, is
//! refused: `sg GROUP -c 'forgewatch …'` makes the group the one that the kernel tells.

use std::fs;
use std::io::{self, Read};

use tokio::net::unix::UCred;

/// The user that a user namespace shows in place of all it does not know: never who it seems to be.
const NOBODY: u32 = 65_534;
/// No file that says who is in which group is longer than this.
const MAX_FILE: u64 = 16 << 20;

/// Knows who may speak.
#[derive(Debug)]
pub(super) struct PeerAuth {
    own: u32,
    group: Option<u32>,
}

impl PeerAuth {
    /// Admits, besides root, the user `own` and the members of `group`, both by their numbers.
    pub(super) fn new(own: u32, group: Option<u32>) -> Self {
        Self { own, group }
    }

    /// Whether this peer may speak.
    pub(super) fn admits(&self, peer: &UCred) -> bool {
        let (uid, gid) = (peer.uid(), peer.gid());
        if uid == NOBODY {
            return false;
        }
        if uid == 0 || uid == self.own {
            return true;
        }
        self.group.is_some_and(|group| {
            gid == group || peer.pid().is_some_and(|pid| is_of(pid, group)) || is_listed(uid, group)
        })
    }
}

/// The number of the group of this name.
pub(super) fn group(name: &str) -> io::Result<Option<u32>> {
    Ok(gid_of(&read("/etc/group")?, name))
}

/// Whether the process has the group among its supplementary ones.
fn is_of(pid: i32, group: u32) -> bool {
    read(&format!("/proc/{pid}/status")).is_ok_and(|status| groups_of(&status).any(|g| g == group))
}

/// Whether the machine's own files list the user as a member of the group.
fn is_listed(uid: u32, group: u32) -> bool {
    let (Ok(users), Ok(groups)) = (read("/etc/passwd"), read("/etc/group")) else {
        return false;
    };
    name_of(&users, uid).is_some_and(|user| lists(&groups, group, user))
}

fn read(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_FILE)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The `Groups:` of a `/proc/PID/status`.
fn groups_of(status: &str) -> impl Iterator<Item = u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|gid| gid.parse().ok())
}

/// The lines of `/etc/group`, name, gid and members, or of `/etc/passwd`, name and uid.
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
    entries(groups).find_map(|(of, gid, _)| (of == name).then_some(gid))
}

fn name_of(users: &str, uid: u32) -> Option<&str> {
    entries(users).find_map(|(name, of, _)| (of == uid).then_some(name))
}

fn lists(groups: &str, group: u32, user: &str) -> bool {
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
    fn a_group_is_found_by_its_whole_name() {
        assert_eq!(gid_of(GROUPS, "forgewatch-ops"), Some(990));
        assert_eq!(gid_of(GROUPS, "forgewatch"), None);
        assert_eq!(gid_of(GROUPS, "others"), None);
        assert_eq!(gid_of(GROUPS, ""), None);
    }

    #[test]
    fn members_are_listed_by_their_whole_names() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n";
        assert_eq!(name_of(users, 1001), Some("bob"));
        assert_eq!(name_of(users, 1002), None);
        assert!(lists(GROUPS, 990, "bob"));
        assert!(!lists(GROUPS, 990, "bo"));
        assert!(!lists(GROUPS, 0, "bob"));
        assert!(!lists(GROUPS, 0, "x"));
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
