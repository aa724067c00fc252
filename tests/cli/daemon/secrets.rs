//! The daemon leaks neither credentials nor webhook keys nor open files.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::process::geteuid;

use super::{DaemonFixture, DaemonProcess, hook, listed};
use crate::fixture::{files_below, job};
use crate::secrets::{ACCESS, SECRET, assert_clean, script};

const KEY: [u8; 32] = *b"CanaryKey-of-a-webhook-with-32-B";

#[track_caller]
fn assert_without_key(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let hex: Vec<String> = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    let raw = String::from_utf8(KEY.to_vec()).unwrap();
    for form in [
        raw,
        BASE64_STANDARD.encode(KEY),
        hex.concat(),
        format!("{KEY:?}"),
    ] {
        assert!(
            !text.contains(&form.to_ascii_lowercase()),
            "{what} holds {form}"
        );
    }
}

#[track_caller]
fn assert_without_secrets(what: &str, text: &[u8]) {
    assert_clean(what, text);
    assert_without_key(what, text);
}

#[test]
fn nothing_that_leaves_the_daemon_holds_a_secret() {
    let error = format!("curl -u {ACCESS}:{SECRET} failed");
    let failing = job("diff/1", &format!("ending = 'failed'\nerror = '{error}'"));
    let fixture = DaemonFixture::new(&script(&failing), "");
    let key = BASE64_STANDARD.encode(KEY);
    fixture
        .sim
        .sandbox
        .file("webhook.secret", format!("whsec_{key}\n"));
    let see = fixture.script(
        "see",
        "env > seen-env; cat > seen-event; tr '\\0' ' ' < /proc/$PPID/cmdline > seen-above",
    );
    // The simulator serves no webhooks, so that this one fails and its error is reported.
    let webhook = format!(
        "[[hooks]]\nname = 'post'\non = ['job.failed']\nwebhook = '{}/hook'\nretries = 0\nsecret_files = ['webhook.secret']\n",
        fixture.sim.server.base_url()
    );
    fixture.configure(&(listed("diff/1") + &hook("see", "'job.failed'", &see, "") + &webhook));
    let mut command = fixture.command();
    command
        .env("FORGEWATCH_ACCESS_KEY", ACCESS)
        .env("FORGEWATCH_SECRET_KEY", SECRET)
        .env("FORGEWATCH_LOG", "trace");
    let mut daemon = DaemonProcess::spawn(command);
    fixture.await_notice("READY=1");
    let failed = daemon.await_event("job.failed", "diff/1");
    assert!(
        failed["error_message"]
            .as_str()
            .unwrap()
            .starts_with("curl -u ")
    );
    daemon.await_event("hook.failed", "");
    daemon.await_line("delivery", |line| line["message"] == "delivered");

    let command_line = fs::read(format!("/proc/{}/cmdline", daemon.pid())).unwrap();
    assert_without_secrets("the command line", &command_line);
    for args in [
        &["list", "--all", "--json"][..],
        &["show", "diff/1", "--json"],
        &["hooks", "list", "--json"],
        &["events"],
    ] {
        let done = fixture.client(args).expect(0);
        assert!(done.stdout.len() > 2, "{args:?} prints nothing");
        assert_without_secrets(&args.join(" "), done.stdout.as_bytes());
    }
    for name in ["seen-env", "seen-event", "seen-above"] {
        assert_without_secrets(name, &fs::read(fixture.path(name)).unwrap());
    }
    let state = |name: &str| assert_without_secrets(name, &fs::read(fixture.path(name)).unwrap());
    state("state.db-wal");
    let (status, printed) = daemon.stop("TERM");
    assert_eq!(status, Some(0));
    state("state.db");
    for file in files_below(&fixture.path("home")) {
        assert_without_secrets(&file.display().to_string(), &fs::read(&file).unwrap());
    }
    // The secrets were used and everything was traced, otherwise the test proves nothing.
    let traced = printed.iter().filter(|line| line["level"] == "TRACE");
    assert!(traced.count() > 0);
    for line in &printed {
        assert_without_secrets("the output", line.to_string().as_bytes());
    }
    let log = fixture.sim.server.log();
    assert!(
        log.iter()
            .any(|request| request.header("webhook-signature").is_some())
    );
    let sent = BASE64_STANDARD.encode(format!("{ACCESS}:{SECRET}"));
    assert_eq!(
        log[0].header("authorization"),
        Some(&*format!("Basic {sent}"))
    );
}

#[test]
fn a_hook_inherits_no_open_files_of_the_daemon() {
    let fixture = DaemonFixture::new(&job("diff/1", ""), "");
    let look = fixture.script(
        "look",
        "find /proc/self/fd -mindepth 1 -printf '%f %l\\n' > open",
    );
    fixture.configure(&(listed("diff/1") + &hook("look", "'job.completed'", &look, "")));
    let mut daemon = fixture.start();
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    let open = fixture.lines("open");
    for standard in ["0 ", "1 ", "2 "] {
        assert!(
            open.iter().any(|line| line.starts_with(standard)),
            "{open:?}"
        );
    }
    for ours in ["state.db", "socket:", "anon_inode:"] {
        assert!(!open.iter().any(|line| line.contains(ours)), "{open:?}");
    }
    daemon.stop("TERM");
}

#[test]
fn a_hook_cannot_read_the_daemons_environment_though_it_runs_as_the_same_user() {
    let fixture = DaemonFixture::new(&script(&job("diff/1", "")), "");
    // The daemon is the parent of the hook's parent, the supervisor.
    let pry = "daemon=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$PPID/status)\n\
               tr '\\0' ' ' < /proc/$daemon/cmdline > whose\n\
               cat /proc/$daemon/environ > environ 2> denied; cat /proc/$daemon/maps > maps 2>> denied; true";
    let pry = fixture.script("pry", pry);
    fixture.configure(&(listed("diff/1") + &hook("pry", "'job.completed'", &pry, "")));
    let mut command = fixture.command();
    if geteuid().is_root() {
        // Root may read everything, so run as uid 65534.
        let program = command.get_program().to_owned();
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        other.arg(program).args(command.get_args()).env_clear();
        for (name, value) in command.get_envs() {
            other.env(name, value.unwrap_or_default());
        }
        other
            .current_dir(fixture.path("home"))
            .stdout(std::process::Stdio::piped());
        give_away(&fixture.path(""));
        command = other;
    }
    command
        .env("FORGEWATCH_ACCESS_KEY", ACCESS)
        .env("FORGEWATCH_SECRET_KEY", SECRET);
    let mut daemon = DaemonProcess::spawn(command);
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    assert!(fixture.lines("whose")[0].contains("watch --config"));
    assert_eq!(
        fixture.lines("denied").len(),
        2,
        "{:?}",
        fixture.lines("denied")
    );
    assert_eq!(
        fixture.lines("environ").len() + fixture.lines("maps").len(),
        0
    );
    daemon.stop("TERM");
}

/// Makes this user the owner of everything below `path`.
fn give_away(path: &Path) {
    chown(path, Some(65534), Some(65534)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}
