//! What the daemon knows and nobody else may: its credentials and the keys of webhooks, and what it holds open.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::process::geteuid;

use super::{Daemon, Home, hook, listed};
use crate::place::{files_below, job};
use crate::secrets::{ACCESS, SECRET, assert_clean, script};

/// The key of a webhook.
const KEY: [u8; 32] = *b"CanaryKey-of-a-webhook-with-32-B";

/// The key of the webhook in what may have been printed, stored or handed over.
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
fn assert_keeps_all(what: &str, text: &[u8]) {
    assert_clean(what, text);
    assert_without_key(what, text);
}

#[test]
fn nothing_that_leaves_the_daemon_holds_a_secret() {
    let error = format!("curl -u {ACCESS}:{SECRET} failed");
    let failing = job("diff/1", &format!("ending = 'failed'\nerror = '{error}'"));
    let home = Home::new(&script(&failing), "");
    let key = BASE64_STANDARD.encode(KEY);
    home.stage
        .place
        .file("webhook.secret", format!("whsec_{key}\n"));
    let see = home.script(
        "see",
        "env > seen-env; cat > seen-event; tr '\\0' ' ' < /proc/$PPID/cmdline > seen-above",
    );
    // The simulator knows no webhooks, which is one more thing to be said about one.
    let webhook = format!(
        "[[hooks]]\nname = 'post'\non = ['job.failed']\nwebhook = '{}/hook'\nretries = 0\nsecret_files = ['webhook.secret']\n",
        home.stage.server.base_url()
    );
    home.configure(&(listed("diff/1") + &hook("see", "'job.failed'", &see, "") + &webhook));
    let mut command = home.command();
    command
        .env("FORGEWATCH_ACCESS_KEY", ACCESS)
        .env("FORGEWATCH_SECRET_KEY", SECRET)
        .env("FORGEWATCH_LOG", "trace");
    let mut daemon = Daemon::spawn(command);
    home.await_notice("READY=1");
    let failed = daemon.await_event("job.failed", "diff/1");
    assert!(failed["error"].as_str().unwrap().starts_with("curl -u "));
    daemon.await_event("hook.failed", "");
    daemon.await_line("delivery", |line| line["message"] == "delivered");

    let command_line = fs::read(format!("/proc/{}/cmdline", daemon.pid())).unwrap();
    assert_keeps_all("the command line", &command_line);
    for args in [
        &["list", "--all", "--json"][..],
        &["show", "diff/1", "--json"],
        &["hooks", "list", "--json"],
        &["events"],
    ] {
        let answer = home.client(args).expect(0);
        assert!(answer.stdout.len() > 2, "{args:?} has nothing to say");
        assert_keeps_all(&args.join(" "), answer.stdout.as_bytes());
    }
    for name in ["seen-env", "seen-event", "seen-above"] {
        assert_keeps_all(name, &fs::read(home.path(name)).unwrap());
    }
    let state = |name: &str| assert_keeps_all(name, &fs::read(home.path(name)).unwrap());
    state("state.db-wal");
    let (status, printed) = daemon.end("TERM");
    assert_eq!(status, Some(0));
    state("state.db");
    for file in files_below(&home.path("home")) {
        assert_keeps_all(&file.display().to_string(), &fs::read(&file).unwrap());
    }
    // That they were used, and that everything was said, or nothing was tested.
    let traced = printed.iter().filter(|line| line["level"] == "TRACE");
    assert!(traced.count() > 0);
    for line in &printed {
        assert_keeps_all("the output", line.to_string().as_bytes());
    }
    let log = home.stage.server.log();
    assert!(
        log.iter()
            .any(|hit| hit.header("webhook-signature").is_some())
    );
    let sent = BASE64_STANDARD.encode(format!("{ACCESS}:{SECRET}"));
    assert_eq!(
        log[0].header("authorization"),
        Some(&*format!("Basic {sent}"))
    );
}

#[test]
fn a_hook_of_the_daemon_inherits_nothing_that_it_holds_open() {
    let home = Home::new(&job("diff/1", ""), "");
    let look = home.script(
        "look",
        "find /proc/self/fd -mindepth 1 -printf '%f %l\\n' > open",
    );
    home.configure(&(listed("diff/1") + &hook("look", "'job.completed'", &look, "")));
    let mut daemon = home.start();
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    let open = home.lines("open");
    for standard in ["0 ", "1 ", "2 "] {
        assert!(
            open.iter().any(|line| line.starts_with(standard)),
            "{open:?}"
        );
    }
    for ours in ["state.db", "socket:", "anon_inode:"] {
        assert!(!open.iter().any(|line| line.contains(ours)), "{open:?}");
    }
    daemon.end("TERM");
}

#[test]
fn a_hook_cannot_read_the_daemons_environment_although_it_is_the_same_user() {
    let home = Home::new(&script(&job("diff/1", "")), "");
    // Above the hook is its supervisor, and above that the daemon.
    let pry = "daemon=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$PPID/status)\n\
               tr '\\0' ' ' < /proc/$daemon/cmdline > whose\n\
               cat /proc/$daemon/environ > environ 2> denied; cat /proc/$daemon/maps > maps 2>> denied; true";
    let pry = home.script("pry", pry);
    home.configure(&(listed("diff/1") + &hook("pry", "'job.completed'", &pry, "")));
    let mut command = home.command();
    if geteuid().is_root() {
        // Root may read everything.
        let program = command.get_program().to_owned();
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        other.arg(program).args(command.get_args()).env_clear();
        for (name, value) in command.get_envs() {
            other.env(name, value.unwrap_or_default());
        }
        other
            .current_dir(home.path("home"))
            .stdout(std::process::Stdio::piped());
        give_away(&home.path(""));
        command = other;
    }
    command
        .env("FORGEWATCH_ACCESS_KEY", ACCESS)
        .env("FORGEWATCH_SECRET_KEY", SECRET);
    let mut daemon = Daemon::spawn(command);
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    assert!(home.lines("whose")[0].contains("watch --config"));
    assert_eq!(home.lines("denied").len(), 2, "{:?}", home.lines("denied"));
    assert_eq!(home.lines("environ").len() + home.lines("maps").len(), 0);
    daemon.end("TERM");
}

/// To the user that may read nothing else.
fn give_away(path: &Path) {
    chown(path, Some(65534), Some(65534)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}
