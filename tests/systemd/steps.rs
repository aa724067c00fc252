//! What an operator does to the unit and what happens to it, in the order of a day.

use serde_json::Value;

use crate::DIFFS;
use crate::fixture::{
    ACCESS, CONFIGURATION, MEMBER, SECRET, STRANGER, UNIT, WEBHOOK_KEY, settings,
};
use crate::machine::{Machine, eventually};

/// What it is about, and how it goes.
type Step = (&'static str, fn(&Machine));

/// In the order in which they have to come.
pub(crate) const STEPS: &[Step] = &[
    ("no credential: it fails once", no_credential),
    ("bad configuration: it fails once", bad_configuration),
    ("a start waits until it is ready", start),
    ("a hook runs and has a network", hook),
    ("the group may speak to it, others not", control),
    ("a good reload", good_reload),
    ("a bad reload", bad_reload),
    ("SIGHUP and SIGUSR1", signals),
    ("kill -9: it goes on", kill),
    ("kill -9 under a hook: it runs again", kill_under_hook),
    ("a hang: it is restarted", hang),
    ("a stop under a hook: it runs again", stop_under_hook),
    ("a damaged state: it can be rescued", damage),
    ("a read-only state: it fails once", read_only),
    ("the journal: records and no secret", journal),
];

fn no_credential(machine: &Machine) {
    machine.fails(&["systemctl", "start", UNIT]);
    // 243 is how systemd says that it could not hand a credential over.
    assert_eq!(machine.property("ExecMainStatus"), "243");
    assert_eq!(machine.property("NRestarts"), "0");
    machine.put_credential();
}

fn bad_configuration(machine: &Machine) {
    let good = machine.ok(&["cat", CONFIGURATION]);
    machine.put(CONFIGURATION, &spoilt(&good), "644");
    machine.fails(&["systemctl", "start", UNIT]);
    assert_eq!(machine.property("ExecMainStatus"), "2");
    assert_eq!(machine.property("NRestarts"), "0");
    let logged = machine.journal();
    for wrong in WRONG {
        assert!(logged.contains(wrong), "{wrong} is not in {logged}");
    }
    machine.put(CONFIGURATION, &good, "644");
}

/// What is wrong with a configuration that was spoilt.
const WRONG: [&str; 2] = ["most_interval", "diff/-1"];

fn spoilt(configuration: &str) -> String {
    let renamed = configuration.replace("max_interval", "most_interval");
    renamed + "\n[[jobs]]\njob = \"diff/-1\"\n"
}

fn start(machine: &Machine) {
    machine.ok(&["systemctl", "start", UNIT]);
    // What nobody but the credential's owner is told.
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

fn control(machine: &Machine) {
    let list = |user: &'static str| {
        let become_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"];
        [&become_user[..], &["forgewatch", "list"]].concat()
    };
    let table = machine.ok(&list(MEMBER));
    assert!(table.contains("diff/1"), "{table}");
    let (status, complaint) = machine.fails(&list(STRANGER));
    assert_eq!(status, 1, "{complaint}");
    assert!(
        complaint.contains("/run/forgewatch/control.sock"),
        "{complaint}"
    );
}

fn good_reload(machine: &Machine) {
    let main = machine.property("MainPID");
    machine.put(CONFIGURATION, &settings(DIFFS), "644");
    machine.ok(&["systemctl", "reload", UNIT]);
    machine.await_watching(4);
    assert_eq!(machine.property("MainPID"), main);
    machine.await_told("watch.reloaded", 1);
}

fn bad_reload(machine: &Machine) {
    let good = machine.ok(&["cat", CONFIGURATION]);
    machine.put(CONFIGURATION, &spoilt(&good), "644");
    let before = machine.journal().len();
    machine.fails(&["systemctl", "reload", UNIT]);
    let logged = machine.journal().split_off(before);
    let (status, complaint) = machine.fails(&["forgewatch", "reload"]);
    assert_eq!(status, 1, "{complaint}");
    for wrong in WRONG {
        assert!(logged.contains(wrong), "{wrong} is not in {logged}");
        assert!(complaint.contains(wrong), "{wrong} is not in {complaint}");
    }
    machine.await_watching(4);
    assert_eq!(machine.property("ActiveState"), "active");
    machine.put(CONFIGURATION, &good, "644");
    machine.ok(&["forgewatch", "reload"]);
}

/// Waits until systemd has restarted it so often and it is ready again.
fn await_restart(machine: &Machine, before: &str, restarts: u32) {
    machine.await_another(before);
    assert_eq!(machine.property("NRestarts"), restarts.to_string());
    machine.await_watching(4);
}

fn signals(machine: &Machine) {
    let main = machine.property("MainPID");
    let before = machine.told("watch.reloaded");
    machine.ok(&["kill", "-HUP", &main]);
    machine.await_told("watch.reloaded", before + 1);
    machine.ok(&["kill", "-USR1", &main]);
    let is_summary = |record: &Value| record["watching"] == 4 && record["deliveries_waiting"] == 0;
    eventually(|| match machine.log() {
        log if log.iter().any(is_summary) => Ok(()),
        log => Err(format!("no summary in {log:#?}")),
    });
}

fn kill(machine: &Machine) {
    let main = machine.property("MainPID");
    machine.ok(&["kill", "-KILL", &main]);
    await_restart(machine, &main, 1);
    // Four that go on, and diff/10, which has ended.
    assert_eq!(machine.told("job.watching"), 5);
}

fn kill_under_hook(machine: &Machine) {
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
    // Noticed sooner than as shipped.
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

fn stop_under_hook(machine: &Machine) {
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
    let (status, complaint) = machine.fails(&["forgewatch", "state", "check", state]);
    assert_eq!(status, 1, "{complaint}");
    assert!(complaint.contains("state recover"), "{complaint}");

    // As the manual has it.
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
    let schema = serde_json::from_str(include_str!("../../config/schema/event.json")).unwrap();
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
