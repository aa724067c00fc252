//! A daemon that an ordinary user starts without naming a path.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::thread;
use std::time::Instant;

use rustix::process::geteuid;

use crate::fixture::{CliCommand, CliOutput, SimFixture, TIMEOUT, job};
use crate::hook_supervisor::skip::skip;

const ORDINARY_USER: u32 = 65_533;

fn setpriv() -> Vec<String> {
    let ids = ["reuid", "regid"].map(|name| format!("--{name}={ORDINARY_USER}"));
    let words = ["setpriv".to_owned(), "--clear-groups".to_owned()];
    words.into_iter().chain(ids).collect()
}

/// Whether another user than root can run the program.
fn can_run() -> bool {
    if !geteuid().is_root() {
        return true;
    }
    let words = setpriv();
    let mut command = Command::new(&words[0]);
    let program = [env!("CARGO_BIN_EXE_forgewatch"), "--version"];
    let output = command.args(&words[1..]).args(program).output();
    let can = output.is_ok_and(|output| output.status.success());
    if !can {
        skip("an ordinary user cannot run the tested program");
    }
    can
}

/// The program as an ordinary user, with `run` as its runtime directory.
fn as_user(fixture: &SimFixture, args: &[&str], session: bool) -> CliCommand {
    let sandbox = &fixture.sandbox;
    let program = sandbox.program(args).without_env("FORGEWATCH_CONFIG");
    let program = if session {
        program.env("XDG_RUNTIME_DIR", sandbox.path("run"))
    } else {
        program
    };
    if !geteuid().is_root() {
        return program;
    }
    let words = setpriv();
    program.through(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The files of a user, who watches one job.
fn home() -> SimFixture {
    let fixture = SimFixture::new(&job("diff/1", "duration = '1h'"));
    let sandbox = &fixture.sandbox;
    let base_url = fixture.server.base_url();
    let config = format!(
        "[api]\nbase_url = '{base_url}'\naccount_service_id = 5678\n[[jobs]]\njob = 'diff/1'\n"
    );
    sandbox.file("config/forgewatch/forgewatch.toml", config);
    sandbox.file("run/other", "");
    if geteuid().is_root() {
        for name in [
            "",
            "home",
            "run",
            "config",
            "config/forgewatch",
            "config/forgewatch/forgewatch.toml",
        ] {
            chown(sandbox.path(name), Some(ORDINARY_USER), Some(ORDINARY_USER)).unwrap();
        }
    }
    fixture
}

/// Repeats the command until it succeeds.
fn until_success(command: impl Fn() -> CliCommand) -> CliOutput {
    let began = Instant::now();
    loop {
        let output = command().run();
        if output.status == 0 {
            return output;
        }
        assert!(began.elapsed() < TIMEOUT, "{output:?}");
        thread::yield_now();
    }
}

#[test]
fn an_ordinary_users_daemon_keeps_its_files_below_the_users_directories() {
    if !can_run() {
        return;
    }
    for (session, socket) in [
        (true, "run/forgewatch/control.sock"),
        (false, "home/.local/state/forgewatch/control.sock"),
    ] {
        let fixture = home();
        let daemon = as_user(&fixture, &["watch", "--output", "json"], session).start();
        // A client finds the daemon in a session or outside of one.
        let list = until_success(|| as_user(&fixture, &["list", "--json"], true));
        assert!(list.stdout.contains("diff/1"), "{list:?}");
        assert!(fixture.sandbox.path(socket).exists(), "{socket}");
        let state = fixture
            .sandbox
            .path("home/.local/state/forgewatch/state.db");
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(state.clone()), 0o600);
        assert_eq!(mode(state.parent().unwrap().to_owned()), 0o700);

        daemon.signal("TERM");
        let done = daemon.wait().expect(0);
        let is_warning = |line: &serde_json::Value| line["level"] == "WARN";
        assert!(!done.lines().iter().any(is_warning), "{}", done.stdout);
    }
}

#[test]
fn without_a_daemon_of_the_user_a_client_names_the_systems_socket() {
    if !can_run() {
        return;
    }
    let fixture = home();
    let list = as_user(&fixture, &["list", "--socket", "none"], true)
        .run()
        .expect(1);
    assert!(list.stderr.contains("none (from --socket)"), "{list:?}");
    let list = as_user(&fixture, &["list"], true).run().expect(1);
    let system = "/run/forgewatch/control.sock (the default)";
    assert!(list.stderr.contains(system), "{list:?}");
}
