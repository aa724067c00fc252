//! Authorization of clients. Skipped without root, which is needed to run as another user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use crate::fixture::{Done, Program, TestDaemon};

/// Any group of `/etc/group` works; most systems have this one.
const GROUP: &str = "daemon";
const GROUP_ID: &str = "1";

/// A daemon for that group in a world-readable folder, and an executable copy of the program.
struct SharedDaemon {
    daemon: TestDaemon,
    program: PathBuf,
}

impl SharedDaemon {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root to run as another user");
            return None;
        }
        let daemon =
            TestDaemon::with_group(GROUP, |_| forgewatch::control::protocol::Response::Done);
        fs::set_permissions(daemon.folder.path(), Permissions::from_mode(0o755)).unwrap();
        let program = daemon.folder.path().join("forgewatch");
        fs::copy(env!("CARGO_BIN_EXE_forgewatch"), &program).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        Some(Self { daemon, program })
    }

    /// Makes the socket world-writable, so that its mode keeps no user out.
    fn with_open_mode(self) -> Self {
        fs::set_permissions(self.daemon.socket(), Permissions::from_mode(0o666)).unwrap();
        self
    }

    /// `reload` as this user, with these groups.
    fn reload(&self, uid: &str, gid: &str, groups: &str) -> Done {
        let mut program = Program(Command::new("setpriv"));
        let groups = match groups {
            "" => "--clear-groups".to_owned(),
            groups => format!("--groups={groups}"),
        };
        program
            .0
            .args(["--reuid", uid, "--regid", gid, &groups, "--"])
            .arg(&self.program)
            .arg("reload")
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        program.env("FORGEWATCH_SOCKET", self.daemon.socket()).run()
    }
}

#[test]
fn root_and_members_of_the_group_are_admitted() {
    let Some(shared) = SharedDaemon::new() else {
        return;
    };
    shared.reload("0", "0", "").expect(0);
    shared.reload("4711", GROUP_ID, "").expect(0);
    shared
        .reload("4711", "4711", &format!("4712,{GROUP_ID}"))
        .expect(0);
}

#[test]
fn the_mode_keeps_other_users_out() {
    let Some(shared) = SharedDaemon::new() else {
        return;
    };
    let done = shared.reload("4711", "4711", "4712").expect(1);
    assert!(done.stderr.contains("Permission denied"), "{done:?}");
    assert!(done.stderr.contains("control.group"), "{done:?}");
    assert!(!shared.daemon.has_request());
}

#[test]
fn other_users_are_rejected_even_if_the_mode_admits_them() {
    let Some(shared) = SharedDaemon::new() else {
        return;
    };
    let shared = shared.with_open_mode();
    let done = shared.reload("4711", "4711", "4712").expect(1);
    assert!(
        done.stderr
            .contains("permission denied: user 4711 is neither root"),
        "{done:?}"
    );
    assert!(!shared.daemon.has_request());
    shared.reload("4711", "4711", GROUP_ID).expect(0);
}

#[test]
fn the_overflow_user_is_rejected_whatever_its_groups() {
    let Some(shared) = SharedDaemon::new() else {
        return;
    };
    let done = shared.reload("65534", GROUP_ID, GROUP_ID).expect(1);
    assert!(
        done.stderr.contains("user 65534 is neither root"),
        "{done:?}"
    );
    assert!(!shared.daemon.has_request());
}

#[test]
fn the_owner_of_the_socket_file_is_not_admitted() {
    let Some(shared) = SharedDaemon::new() else {
        return;
    };
    // The user of the daemon's process counts, not the owner of the file.
    chown(shared.daemon.socket(), Some(4711), None).unwrap();
    let done = shared.reload("4711", "4711", "").expect(1);
    assert!(
        done.stderr.contains("user 4711 is neither root"),
        "{done:?}"
    );
}
