//! The contents of the container: the shipped installation, a simulator, hooks, and jobs that take an hour.

use std::fs::{self, Permissions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::machine::{Machine, Overlay, eventually};
use crate::print_line;

pub(crate) const UNIT: &str = "forgewatch.service";
pub(crate) const CONFIGURATION: &str = "/etc/forgewatch/forgewatch.toml";
const CREDENTIALS: &str = "/etc/forgewatch/credentials";
/// The lines that the hook `note` writes: event id, attempt, job, state.
pub(crate) const NOTES: &str = "/var/lib/forgewatch/notes";

/// Secrets that must not appear in any output.
pub(crate) const ACCESS: &str = "canary-access";
pub(crate) const SECRET: &str = "canary-0xsecret";
pub(crate) const WEBHOOK_KEY: &str = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5";

/// Users with and without access to the daemon.
pub(crate) const MEMBER: &str = "ann";
pub(crate) const STRANGER: &str = "bob";

/// Jobs that outlast the test, and jobs that end with the first poll.
const JOBS: &str = r#"
    { job = "update/3", duration = "1h" },
    { job = "diff/10", duration = "1ms" },
    { job = "diff/11", duration = "1ms" },
    { job = "diff/12", duration = "1ms" },
    { job = "diff/13", duration = "1ms", ending = "failed", error = "disk full" },
"#;

const SETTINGS: &str = r#"
[api]
base_url = "http://127.0.0.1:8080"
account_service_id = 5678

[schedule]
min_interval = "50ms"
max_interval = "500ms"

[control]
stop_grace = "300ms"

[[hooks]]
name = "note"
on = ["job.completed"]
run = ["/usr/local/libexec/note"]

# Never called; tests that its key can be read.
[[hooks]]
name = "chat"
on = ["job.squashed"]
webhook = "https://hooks.example.net/forgewatch"
secret_files = ["/run/credentials/forgewatch.service/webhook"]
"#;

/// Prints control characters and a forged log line, uses the network, and writes a note. The first attempts for diff/11
/// and diff/12 run until they are killed; the one for diff/12 ignores TERM.
const NOTE: &str = r#"#!/bin/bash
head -c 60000 /dev/zero | tr '\0' '\001'
echo; echo '<0>forged'
note() { echo "$FORGEWATCH_EVENT_ID $FORGEWATCH_ATTEMPT $FORGEWATCH_JOB $1" >>/var/lib/forgewatch/notes; }
exec 3<>/dev/tcp/127.0.0.1/8080 || exit 1
case $FORGEWATCH_JOB/$FORGEWATCH_ATTEMPT in
  diff/11/1) trap 'note ended; exit 1' TERM ;;
  diff/12/1) trap '' TERM ;;
  *) note done; exit ;;
esac
note began
sleep 600 & wait
"#;

const SIMULATOR: &str = "\
[Service]
ExecStart=/usr/bin/forgewatch simulate --script /etc/simulator.toml
";

/// Passes a webhook key as documented in the manual.
const DROP_IN: &str = "\
[Service]
LoadCredential=webhook:/etc/forgewatch/webhook.secret
";

/// The simulator's script, with these jobs.
pub(crate) fn script(jobs: &str) -> String {
    format!("access_key = \"{ACCESS}\"\nsecret_key = \"{SECRET}\"\njobs = [\n{jobs}]\n")
}

/// The configuration that watches update/3 and these diffs.
pub(crate) fn settings(diffs: Range<u32>) -> String {
    let entry = |n| format!("\n[[jobs]]\njob = \"diff/{n}\"\n");
    let update = "\n[[jobs]]\njob = \"update/3\"\n";
    SETTINGS.to_owned() + update + &diffs.map(entry).collect::<String>()
}

/// Boots the container with everything except the credential. The simulator serves these diffs; the first `watched` of them
/// are configured. Prints a reason and returns None if this system cannot run the container.
pub(crate) fn boot(diffs: &Range<u32>, watched: u32) -> Option<Machine> {
    let overlay = Overlay::new();
    let root = overlay.root();
    let install = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/install.sh"))
        .arg("install")
        .env("DESTDIR", &root)
        .env("BIN", env!("CARGO_BIN_EXE_forgewatch"))
        .output()
        .unwrap();
    assert!(install.status.success(), "{install:?}");
    let jobs = settings(diffs.start..diffs.start + watched);
    let diff = |n| format!("    {{ job = \"diff/{n}\", duration = \"1h\" }},\n");
    let script = script(&(JOBS.to_owned() + &diffs.clone().map(diff).collect::<String>()));
    let key = format!("whsec_{WEBHOOK_KEY}\n");
    for (path, text, mode) in [
        (CONFIGURATION, jobs.as_str(), 0o644),
        ("/etc/forgewatch/webhook.secret", &key, 0o600),
        ("/etc/simulator.toml", &script, 0o644),
        ("/usr/local/libexec/note", NOTE, 0o755),
        ("/etc/systemd/system/simulator.service", SIMULATOR, 0o644),
        (
            "/etc/systemd/system/forgewatch.service.d/test.conf",
            DROP_IN,
            0o644,
        ),
    ] {
        write(&root.join(path.trim_start_matches('/')), text, mode);
    }
    let machine = match overlay.boot() {
        Ok(machine) => machine,
        Err(why) => {
            print_line(&format!("skipped: {why}"));
            return None;
        }
    };
    machine.ok(&["systemd-sysusers", "/usr/lib/sysusers.d/forgewatch.conf"]);
    machine.ok(&["useradd", "--groups", "forgewatch-ops", MEMBER]);
    machine.ok(&["useradd", STRANGER]);
    machine.ok(&["systemctl", "start", "simulator.service"]);
    Some(machine)
}

pub(crate) fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

impl Machine {
    /// Writes a file in the running container.
    pub(crate) fn put(&self, path: &str, text: &str, mode: &str) {
        let mut install = self.command(&["install", "-D", "-m", mode, "/dev/stdin", path]);
        let mut install = install.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = install.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        assert!(install.wait().unwrap().success(), "{path}");
    }

    pub(crate) fn put_credential(&self) {
        self.put(CREDENTIALS, &format!("{ACCESS}:{SECRET}\n"), "600");
    }

    /// A property of the unit.
    pub(crate) fn property(&self, name: &str) -> String {
        let value = self.ok(&["systemctl", "show", "-P", name, UNIT]);
        value.trim_end().to_owned()
    }

    #[track_caller]
    pub(crate) fn await_property(&self, name: &str, value: &str) {
        self.until(&["systemctl", "show", "-P", name, UNIT], |stdout| {
            stdout.trim_end() == value
        });
    }

    /// Waits for this number of watched jobs and no pending deliveries.
    #[track_caller]
    pub(crate) fn await_watching(&self, jobs: usize) {
        let status = format!("watching {jobs}, unreachable 0, deliveries pending 0");
        self.await_property("StatusText", &status);
    }

    /// Waits until another process than `main` is ready.
    #[track_caller]
    pub(crate) fn await_new_process(&self, main: &str) {
        self.until(&["systemctl", "show", "-P", "MainPID", UNIT], |pid| {
            !["0", main].contains(&pid.trim_end())
        });
        self.await_property("ActiveState", "active");
    }

    /// Waits for a note that ends so; returns the event id and the attempt.
    #[track_caller]
    pub(crate) fn await_note(&self, end: &str) -> (String, u32) {
        let notes = self.until(&["cat", NOTES], |notes| {
            notes.lines().any(|line| line.ends_with(end))
        });
        let line = notes.lines().find(|line| line.ends_with(end)).unwrap();
        let mut words = line.split(' ');
        let (id, attempt) = (words.next().unwrap(), words.next().unwrap());
        (id.to_owned(), attempt.parse().unwrap())
    }

    /// All output of the unit, including that of its reload command.
    pub(crate) fn journal(&self) -> String {
        self.ok(&["journalctl", "--sync"]);
        self.ok(&["journalctl", "--unit", UNIT, "--output", "cat"])
    }

    /// The records in the journal of all daemons so far. Each entry must have one, except the errors of failed starts.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.ok(&["journalctl", "--sync"]);
        let daemons = [
            "_SYSTEMD_UNIT=forgewatch.service",
            "_CMDLINE=/usr/bin/forgewatch watch",
        ];
        let read = ["journalctl", "--output", "json", "--all", "--no-pager"];
        let lines = self.ok(&[&read[..], &daemons].concat());
        let entry = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
        let entries = lines.lines().map(entry);
        let of_daemon = entries.filter(|entry| {
            let message = entry["MESSAGE"].as_str().unwrap_or_default();
            !message.starts_with("error: ")
        });
        of_daemon
            .map(|entry| {
                let record = entry["FORGEWATCH_RECORD"].as_str();
                assert!(record.is_some(), "no record in {entry}");
                serde_json::from_str(record.unwrap_or_default()).unwrap()
            })
            .collect()
    }

    /// The number of events of this type in the journal.
    pub(crate) fn event_count(&self, kind: &str) -> usize {
        let log = self.log();
        log.iter()
            .filter(|record| record["event_type"] == kind)
            .count()
    }

    /// Waits for so many events of this type.
    #[track_caller]
    pub(crate) fn await_events(&self, kind: &str, count: usize) {
        eventually(|| match self.event_count(kind) {
            found if found == count => Ok(()),
            found => Err(format!("{found} {kind} events, expected {count}")),
        });
    }
}
