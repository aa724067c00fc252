//! The steps of the test: what an operator does, and what can happen to a service.

use serde_json::Value;

use crate::DIFFS;
use crate::fixture::{
    ACCESS, CONFIGURATION, MEMBER, SECRET, STRANGER, UNIT, WEBHOOK_KEY, settings,
};
use crate::machine::{Machine, eventually};

/// Name and function.
type Step = (&'static str, fn(&Machine));

/// In the order of execution.
pub(crate) const STEPS: &[Step] = &[
    ("missing credential: fails without restart", no_credential),
    (
        "invalid configuration: fails without restart",
        bad_configuration,
    ),
    ("start waits until the daemon is ready", start),
    ("a hook runs and has network access", hook),
    ("errors in the journal are the failed jobs", failed_job),
    ("only the group has access to the socket", control),
    ("valid reload", good_reload),
    ("invalid reload", bad_reload),
    ("SIGHUP and SIGUSR1", signals),
    ("kill -9: watches continue", kill),
    (
        "kill -9 during a hook: the hook runs again",
        kill_during_hook,
    ),
    ("a hang: systemd restarts the daemon", hang),
    ("stop during a hook: the hook runs again", stop_during_hook),
    ("damaged state: it can be recovered", damage),
    ("read-only state: fails without restart", read_only),
    ("the journal has records and no secrets", journal),
];

fn no_credential(machine: &Machine) {
    machine.fails(&["systemctl", "start", UNIT]);
    // 243 is systemd's exit status for a missing credential.
    assert_eq!(machine.property("ExecMainStatus"), "243");
    assert_eq!(machine.property("NRestarts"), "0");
    machine.put_credential();
}

fn bad_configuration(machine: &Machine) {
    let good = machine.ok(&["cat", CONFIGURATION]);
    machine.put(CONFIGURATION, &broken(&good), "644");
    machine.fails(&["systemctl", "start", UNIT]);
    assert_eq!(machine.property("ExecMainStatus"), "2");
    assert_eq!(machine.property("NRestarts"), "0");
    let logged = machine.journal();
    for text in INVALID {
        assert!(logged.contains(text), "{text} is not in {logged}");
    }
    machine.put(CONFIGURATION, &good, "644");
}

/// The invalid values of a broken configuration.
const INVALID: [&str; 2] = ["most_interval", "diff/-1"];

fn broken(configuration: &str) -> String {
    let renamed = configuration.replace("max_interval", "most_interval");
    renamed + "\n[[jobs]]\njob = \"diff/-1\"\n"
}

/// Where the journal ended then.
const BEFORE_START: &str = "/run/before-start";

fn start(machine: &Machine) {
    machine.ok(&["systemd-cat", "echo", "errors of earlier steps end here"]);
    machine.ok(&["journalctl", "--sync"]);
    machine.ok(&["journalctl", "--lines", "1", "--cursor-file", BEFORE_START]);
    machine.ok(&["systemctl", "start", UNIT]);
    // Only a daemon with valid credentials gets statuses.
    machine.await_watching(3);
    let list = machine.ok(&["forgewatch", "list", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list.as_array().map(Vec::len), Some(3), "{list}");
}

fn hook(machine: &Machine) {
    machine.ok(&["forgewatch", "add", "diff/10"]);
    let (_, attempt) = machine.await_note("diff/10 done");
    assert_eq!(attempt, 1);
    machine.await_watching(3);
}

fn failed_job(machine: &Machine) {
    machine.ok(&["journalctl", "--update-catalog"]);
    machine.ok(&["forgewatch", "add", "diff/13", "--label", "build=8812"]);
    machine.await_events("job.failed", 1);
    machine.ok(&["journalctl", "--sync"]);
    let errors = [
        "journalctl",
        "--unit",
        UNIT,
        "--priority",
        "err",
        "--output",
        "json",
        "--all",
    ];
    let cursor = machine.ok(&["cat", BEFORE_START]);
    let errors = machine.ok(&[&errors[..], &["--cursor", cursor.trim()]].concat());
    let errors: Vec<Value> = errors
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let failed = &errors[0];
    assert_eq!(failed["FORGEWATCH_EVENT_TYPE"], "job.failed");
    assert_eq!(failed["FORGEWATCH_LABEL_BUILD"], "8812");
    assert_eq!(failed["SYSLOG_IDENTIFIER"], "forgewatch");
    let message = failed["MESSAGE"].as_str().unwrap();
    assert!(message.ends_with(": disk full"), "{message}");

    let read = [
        "journalctl",
        "--catalog",
        "--no-pager",
        "FORGEWATCH_JOB=diff/13",
    ];
    let explained = machine.ok(&read);
    for text in [
        "diff/13 failed",
        "Subject: job.failed: diff/13",
        "forgewatch-events(7)",
    ] {
        assert!(explained.contains(text), "{text} is not in {explained}");
    }
    assert!(!explained.contains("diff/10"), "{explained}");
}

fn control(machine: &Machine) {
    let list = |user: &'static str| {
        let become_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"];
        [&become_user[..], &["forgewatch", "list"]].concat()
    };
    let table = machine.ok(&list(MEMBER));
    assert!(table.contains("diff/1"), "{table}");
    let (status, stderr) = machine.fails(&list(STRANGER));
    assert_eq!(status, 1, "{stderr}");
    assert!(stderr.contains("/run/forgewatch/control.sock"), "{stderr}");
}

fn good_reload(machine: &Machine) {
    let main = machine.property("MainPID");
    machine.put(CONFIGURATION, &settings(DIFFS), "644");
    machine.ok(&["systemctl", "reload", UNIT]);
    machine.await_watching(4);
    assert_eq!(machine.property("MainPID"), main);
    machine.await_events("watch.reloaded", 1);
}

fn bad_reload(machine: &Machine) {
    let good = machine.ok(&["cat", CONFIGURATION]);
    machine.put(CONFIGURATION, &broken(&good), "644");
    let before = machine.journal().len();
    machine.fails(&["systemctl", "reload", UNIT]);
    let logged = machine.journal().split_off(before);
    let (status, stderr) = machine.fails(&["forgewatch", "reload"]);
    assert_eq!(status, 1, "{stderr}");
    for text in INVALID {
        assert!(logged.contains(text), "{text} is not in {logged}");
        assert!(stderr.contains(text), "{text} is not in {stderr}");
    }
    machine.await_watching(4);
    assert_eq!(machine.property("ActiveState"), "active");
    machine.put(CONFIGURATION, &good, "644");
    machine.ok(&["forgewatch", "reload"]);
}

/// Waits until systemd has restarted the daemon so many times and it is ready again.
fn await_restart(machine: &Machine, before: &str, restarts: u32) {
    machine.await_new_process(before);
    assert_eq!(machine.property("NRestarts"), restarts.to_string());
    machine.await_watching(4);
}

fn signals(machine: &Machine) {
    let main = machine.property("MainPID");
    let before = machine.event_count("watch.reloaded");
    machine.ok(&["kill", "-HUP", &main]);
    machine.await_events("watch.reloaded", before + 1);
    machine.ok(&["kill", "-USR1", &main]);
    let is_summary = |record: &Value| record["watching"] == 4 && record["deliveries_pending"] == 0;
    eventually(|| match machine.log() {
        log if log.iter().any(is_summary) => Ok(()),
        log => Err(format!("no summary in {log:#?}")),
    });
}

fn kill(machine: &Machine) {
    let main = machine.property("MainPID");
    machine.ok(&["kill", "-KILL", &main]);
    await_restart(machine, &main, 1);
    // Four running jobs, and diff/10 and diff/13, which have ended.
    assert_eq!(machine.event_count("job.watching"), 6);
}

fn kill_during_hook(machine: &Machine) {
    machine.ok(&["forgewatch", "add", "diff/12"]);
    let began = machine.await_note("diff/12 began");
    let main = machine.property("MainPID");
    machine.ok(&["kill", "-KILL", &main]);
    await_restart(machine, &main, 2);
    let (id, attempt) = machine.await_note("diff/12 done");
    assert_eq!((id, attempt), (began.0, began.1 + 1));
    machine.fails(&["pgrep", "--full", "sleep 600"]);
}

fn hang(machine: &Machine) {
    // A shorter watchdog interval than the shipped one.
    let drop_in = "/run/systemd/system/forgewatch.service.d/watchdog.conf";
    machine.put(drop_in, "[Service]\nWatchdogSec=2\n", "644");
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", UNIT]);
    let main = machine.property("MainPID");
    machine.ok(&["kill", "-STOP", &main]);
    await_restart(machine, &main, 1);
    machine.ok(&["rm", drop_in]);
    machine.ok(&["systemctl", "daemon-reload"]);
}

fn stop_during_hook(machine: &Machine) {
    machine.ok(&["forgewatch", "add", "diff/11"]);
    let began = machine.await_note("diff/11 began");
    machine.ok(&["systemctl", "stop", UNIT]);
    let ended = machine.await_note("diff/11 ended");
    assert_eq!(
        (&began, machine.property("Result").as_str()),
        (&ended, "success")
    );
    machine.ok(&["systemctl", "start", UNIT]);
    let (id, attempt) = machine.await_note("diff/11 done");
    assert_eq!((id, attempt), (began.0, began.1 + 1));
    machine.await_watching(4);
}

fn damage(machine: &Machine) {
    machine.ok(&["systemctl", "stop", UNIT]);
    let state = "/var/lib/forgewatch/state.db";
    machine.ok(&["sed", "--in-place", "s|diff/2|diff/X|g", state]);
    machine.fails(&["systemctl", "start", UNIT]);
    assert_eq!(machine.property("ExecMainStatus"), "78");
    assert_eq!(machine.property("NRestarts"), "0");
    let (status, stderr) = machine.fails(&["forgewatch", "state", "check", state]);
    assert_eq!(status, 1, "{stderr}");
    assert!(stderr.contains("state recover"), "{stderr}");

    // The recovery procedure in the manual.
    let manual = include_str!("../../docs/daemon.md");
    let mut recipes = manual
        .split("```sh\n")
        .filter_map(|rest| rest.split("```").next());
    let recipe = recipes
        .find(|recipe| recipe.contains("state recover"))
        .unwrap();
    machine.ok(&["sh", "-c", recipe]);
    machine.await_watching(4);
}

fn read_only(machine: &Machine) {
    machine.ok(&["systemctl", "stop", UNIT]);
    let state = "/var/lib/private/forgewatch";
    machine.ok(&["mount", "--bind", state, state]);
    machine.ok(&["mount", "-o", "remount,bind,ro", state]);
    machine.fails(&["systemctl", "start", UNIT]);
    assert_eq!(machine.property("ExecMainStatus"), "78");
    assert_eq!(machine.property("NRestarts"), "0");
    machine.ok(&["umount", state]);
    machine.ok(&["systemctl", "start", UNIT]);
    machine.await_watching(4);
}

fn journal(machine: &Machine) {
    let schema = include_str!("../../config/schema/event.json");
    let mut schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    schema["additionalProperties"] = false.into();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let records = machine.log();
    let mut events = 0;
    for record in &records {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(record[field].is_string(), "{record}");
        }
        if record.get("event_type").is_some() {
            let errors: Vec<String> = schema.iter_errors(record).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{record}: {errors:?}");
            events += 1;
        }
    }
    assert!(events > 10, "{records:#?}");

    let loud = [
        "journalctl",
        "--unit",
        UNIT,
        "--output",
        "cat",
        "--priority",
    ];
    assert_eq!(machine.ok(&[&loud[..], &["emerg"]].concat()), "", "forged");
    let all = machine.ok(&["journalctl", "--unit", UNIT, "--output", "export"]);
    let basic = "Y2FuYXJ5LWFjY2VzczpjYW5hcnktMHhzZWNyZXQ=";
    for secret in [SECRET, ACCESS, WEBHOOK_KEY, basic] {
        assert!(!all.contains(secret), "the journal holds {secret}");
    }
}
