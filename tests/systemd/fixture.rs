//! What is in the container: the installation as it ships, a simulator, hooks, and three jobs that take an hour.

use std::fs::{self, Permissions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::machine::{Files, Machine, eventually};
use crate::say;

pub(crate) const UNIT: &str = "forgewatch.service";
pub(crate) const CONFIGURATION: &str = "/etc/forgewatch/forgewatch.toml";
const CREDENTIALS: &str = "/etc/forgewatch/credentials";
/// What `note` writes: event id, attempt, job, what happened; a line each.
pub(crate) const NOTES: &str = "/var/lib/forgewatch/notes";

/// What must be seen nowhere: the secret key, and how Basic and the webhooks' signature would carry theirs.
pub(crate) const ACCESS: &str = "canary-access";
pub(crate) const SECRET: &str = "canary-0xsecret";
pub(crate) const WEBHOOK_KEY: &str = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5";

/// Who may speak to the daemon, and who may not.
pub(crate) const MEMBER: &str = "ann";
pub(crate) const STRANGER: &str = "bob";

/// Jobs that take as long as the test, and some that end as soon as they are asked about.
const SCRIPT: &str = r#"
access_key = "canary-access"
secret_key = "canary-0xsecret"
jobs = [
    { job = "update/3", duration = "1h" },
    { job = "diff/10", duration = "1ms" },
    { job = "diff/11", duration = "1ms" },
    { job = "diff/12", duration = "1ms" },
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

# Never called: that its key can be read is enough.
[[hooks]]
name = "chat"
on = ["job.squashed"]
webhook = "https://hooks.example.net/forgewatch"
secret_files = ["/run/credentials/forgewatch.service/webhook"]
"#;

/// Prints what no log likes, leaves a note, and shows that it may use the network. The first attempts for diff/11 and diff/12 go on until they are
/// ended, and the latter does not listen to a mere TERM.
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

/// A webhook's key is handed over, as the manual says.
const DROP_IN: &str = "\
[Service]
LoadCredential=webhook:/etc/forgewatch/webhook.secret
";

/// A script with these diffs, which take an hour each, besides the others.
fn script(diffs: &Range<u32>) -> String {
    let entry = |n| format!("    {{ job = \"diff/{n}\", duration = \"1h\" }},\n");
    SCRIPT.to_owned() + &diffs.clone().map(entry).collect::<String>() + "]\n"
}

/// The configuration that watches update/3 and these diffs.
pub(crate) fn settings(diffs: Range<u32>) -> String {
    let entry = |n| format!("\n[[jobs]]\njob = \"diff/{n}\"\n");
    let update = "\n[[jobs]]\njob = \"update/3\"\n";
    SETTINGS.to_owned() + update + &diffs.map(entry).collect::<String>()
}

/// Boots with all of it in place, the group and its member included, but without a credential. The simulator knows these
/// diffs, and the first `watched` of them are configured. None, with a word on why, where that can't be.
pub(crate) fn boot(diffs: &Range<u32>, watched: u32) -> Option<Machine> {
    let files = Files::new();
    let root = files.root();
    let install = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/install.sh"))
        .arg("install")
        .env("DESTDIR", &root)
        .env("BIN", env!("CARGO_BIN_EXE_forgewatch"))
        .output()
        .unwrap();
    assert!(install.status.success(), "{install:?}");
    let jobs = settings(diffs.start..diffs.start + watched);
    let script = script(diffs);
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
    let machine = match files.boot() {
        Ok(machine) => machine,
        Err(why) => {
            say(&format!("skipped: {why}"));
            return None;
        }
    };
    machine.ok(&["systemd-sysusers", "/usr/lib/sysusers.d/forgewatch.conf"]);
    machine.ok(&["useradd", "--groups", "forgewatch-ops", MEMBER]);
    machine.ok(&["useradd", STRANGER]);
    machine.ok(&["systemctl", "start", "simulator.service"]);
    Some(machine)
}

fn write(path: &Path, text: &str, mode: u32) {
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

    /// Puts the credential where the unit looks for it.
    pub(crate) fn put_credential(&self) {
        self.put(CREDENTIALS, &format!("{ACCESS}:{SECRET}\n"), "600");
    }

    /// A property of the unit.
    pub(crate) fn property(&self, name: &str) -> String {
        let value = self.ok(&["systemctl", "show", "-P", name, UNIT]);
        value.trim_end().to_owned()
    }

    /// Waits until a property of the unit is that.
    #[track_caller]
    pub(crate) fn await_property(&self, name: &str, value: &str) {
        self.until(&["systemctl", "show", "-P", name, UNIT], |said| {
            said.trim_end() == value
        });
    }

    /// Waits until it stands so, with no delivery waiting.
    #[track_caller]
    pub(crate) fn await_watching(&self, jobs: usize) {
        let status = format!("watching {jobs}, unreachable 0, deliveries waiting 0");
        self.await_property("StatusText", &status);
    }

    /// Waits until it has been restarted, `main` having been its process before, and is ready again.
    #[track_caller]
    pub(crate) fn await_another(&self, main: &str) {
        self.until(&["systemctl", "show", "-P", "MainPID", UNIT], |pid| {
            !["0", main].contains(&pid.trim_end())
        });
        self.await_property("ActiveState", "active");
    }

    /// Waits until the hook has left this note about a job; returns the event's id and the attempt.
    #[track_caller]
    pub(crate) fn await_note(&self, about: &str) -> (String, u32) {
        let notes = self.until(&["cat", NOTES], |notes| {
            notes.lines().any(|line| line.ends_with(about))
        });
        let line = notes.lines().find(|line| line.ends_with(about)).unwrap();
        let mut words = line.split(' ');
        let (id, attempt) = (words.next().unwrap(), words.next().unwrap());
        (id.to_owned(), attempt.parse().unwrap())
    }

    /// All that the unit has said, what it runs for a reload included.
    pub(crate) fn journal(&self) -> String {
        self.ok(&["journalctl", "--sync"]);
        self.ok(&["journalctl", "--unit", UNIT, "--output", "cat"])
    }

    /// What daemons have put into the journal so far. Each line has to be JSON, but for the words of one that could not
    /// start.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.ok(&["journalctl", "--sync"]);
        let daemons = [
            "_SYSTEMD_UNIT=forgewatch.service",
            "_CMDLINE=/usr/bin/forgewatch watch",
        ];
        let read = ["journalctl", "--output", "cat", "--no-pager"];
        let lines = self.ok(&[&read[..], &daemons].concat());
        let records = lines.lines().filter(|line| !line.starts_with("error: "));
        records
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// How many events of this type were told so far.
    pub(crate) fn told(&self, kind: &str) -> usize {
        let log = self.log();
        log.iter()
            .filter(|record| record["event_type"] == kind)
            .count()
    }

    /// Waits until so many were told.
    #[track_caller]
    pub(crate) fn await_told(&self, kind: &str, count: usize) {
        eventually(|| match self.told(kind) {
            told if told == count => Ok(()),
            told => Err(format!("{told} of {kind} were told, not {count}")),
        });
    }
}
