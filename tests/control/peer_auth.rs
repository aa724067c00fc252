//! Who may speak. These need root, to be somebody else; without it they are skipped.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use crate::fixture::{Done, Program, Stage};

/// What most systems call daemon; any group of `/etc/group` would do.
const GROUP: &str = "daemon";
const GROUP_ID: &str = "1";

/// A daemon for that group, whose folder everybody can look into, and the program where everybody can run it.
struct Open {
    stage: Stage,
    program: PathBuf,
}

impl Open {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can be somebody else");
            return None;
        }
        let stage = Stage::with_group(GROUP, |_| forgewatch::control::protocol::Answer::Done);
        fs::set_permissions(stage.folder.path(), Permissions::from_mode(0o755)).unwrap();
        let program = stage.folder.path().join("forgewatch");
        fs::copy(env!("CARGO_BIN_EXE_forgewatch"), &program).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        Some(Self { stage, program })
    }

    /// Opens the socket to everybody, so that its mode keeps nobody out.
    fn loosened(self) -> Self {
        fs::set_permissions(self.stage.socket(), Permissions::from_mode(0o666)).unwrap();
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
        program.env("FORGEWATCH_SOCKET", self.stage.socket()).run()
    }
}

#[test]
fn root_and_the_group_may_by_whichever_of_their_groups_it_is() {
    let Some(open) = Open::new() else { return };
    open.reload("0", "0", "").expect(0);
    open.reload("4711", GROUP_ID, "").expect(0);
    open.reload("4711", "4711", &format!("4712,{GROUP_ID}"))
        .expect(0);
}

#[test]
fn the_mode_keeps_others_out() {
    let Some(open) = Open::new() else { return };
    let done = open.reload("4711", "4711", "4712").expect(1);
    assert!(done.stderr.contains("Permission denied"), "{done:?}");
    assert!(done.stderr.contains("control.group"), "{done:?}");
    assert!(!open.stage.was_asked());
}

#[test]
fn where_the_mode_was_loosened_others_are_refused_all_the_same() {
    let Some(open) = Open::new() else { return };
    let open = open.loosened();
    let done = open.reload("4711", "4711", "4712").expect(1);
    assert!(
        done.stderr
            .contains("user 4711 may not control this daemon"),
        "{done:?}"
    );
    assert!(!open.stage.was_asked());
    open.reload("4711", "4711", GROUP_ID).expect(0);
}

#[test]
fn the_user_that_stands_for_unknown_ones_is_nobody_whatever_its_groups() {
    let Some(open) = Open::new() else { return };
    let done = open.reload("65534", GROUP_ID, GROUP_ID).expect(1);
    assert!(done.stderr.contains("user 65534 may not"), "{done:?}");
    assert!(!open.stage.was_asked());
}

#[test]
fn a_socket_of_somebody_elses_daemon_does_not_let_its_group_in_by_owner() {
    let Some(open) = Open::new() else { return };
    // The owner of the file means nothing: who the daemon runs as does.
    chown(open.stage.socket(), Some(4711), None).unwrap();
    let done = open.reload("4711", "4711", "").expect(1);
    assert!(done.stderr.contains("user 4711 may not"), "{done:?}");
}
