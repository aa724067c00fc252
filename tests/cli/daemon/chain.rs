//! Hooks that add the next job, as in `config/examples/chain.toml`: whenever the daemon is killed, each job gets exactly one
//! watch.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use serde_json::Value;

use super::{DaemonFixture, types};
use crate::fixture::job;

const CONFIG: &str = include_str!("../../../config/examples/chain.toml");
const HOOK: &str = include_str!("../../../config/examples/chain.sh");

/// The two jobs that hooks add, in order: kind, ID, and the ID of the job before.
const STEPS: [(&str, &str, &str); 2] = [("diff", "99", "77"), ("version", "5", "99")];

/// The first run for each kind is killed before it creates the job.
fn create(kind: &str, id: &str) -> String {
    format!(
        "echo $1 >> started-{kind}; test -e may-create-{kind} || exec sleep 600; echo $1 >> created-{kind}; echo {id}"
    )
}

/// The first `forgewatch add` of each kind never returns to the hook.
const ADD: &str = concat!(
    env!("CARGO_BIN_EXE_forgewatch"),
    " \"$@\" || exit; kind=${2%%/*}; echo $* >> added-$kind; test -e may-return-$kind || exec sleep 600"
);

#[test]
fn a_chain_of_hooks_starts_one_watch_per_step_whenever_the_daemon_is_killed() {
    let jobs = ["update/77", "diff/99", "version/5"].map(|name| job(name, ""));
    let fixture = DaemonFixture::new(&jobs.concat(), "");
    install_example(&fixture);

    let path = format!("{}:/usr/bin:/bin", fixture.path("bin").display());
    let start = || fixture.start_with("PATH", &path);
    let mut daemon = start();
    for (kind, ..) in STEPS {
        for (line, permission) in [("started", "may-create"), ("added", "may-return")] {
            await_line(&fixture, &format!("{line}-{kind}"));
            daemon.stop("KILL");
            fs::write(fixture.path(&format!("{permission}-{kind}")), "").unwrap();
            daemon = start();
        }
    }
    let events = || {
        let events = fixture.client(&["events"]).expect(0).stdout;
        let lines = events
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<Value>>()
    };
    let of_job = |job: &str| {
        let events = events().into_iter().filter(|event| event["job"] == job);
        events.collect::<Vec<_>>()
    };
    let is_done = || types(&of_job("version/5")).contains(&"job.completed");
    let has_deliveries = || {
        fixture
            .client(&["hooks", "list", "--json"])
            .expect(0)
            .stdout
            .trim()
            != "[]"
    };
    while !is_done() || has_deliveries() {
        thread::yield_now();
    }

    for (kind, id, before) in STEPS {
        let added = fixture.lines(&format!("added-{kind}")).len();
        assert!(added >= 2, "{kind}: once before the kill, once after it");
        assert_eq!(
            fixture.lines(&format!("created-{kind}")),
            [before],
            "{kind}"
        );
        let events = of_job(&format!("{kind}/{id}"));
        for once in ["job.watching", "job.completed"] {
            let times = types(&events).iter().filter(|&&kind| kind == once).count();
            assert_eq!(times, 1, "{events:#?}");
        }
        let after = events[0]["labels"]["after"].as_str().unwrap();
        assert!(after.ends_with(&format!("/{before}")), "{after}");
    }
    daemon.stop("TERM");
}

fn await_line(fixture: &DaemonFixture, name: &str) {
    while fixture.lines(name).is_empty() {
        thread::yield_now();
    }
}

/// Installs the example as its reader would, with the paths of the fixture.
fn install_example(fixture: &DaemonFixture) {
    let create_diff = fixture.script("create-diff", &create("diff", "99"));
    let create_version = fixture.script("create-version", &create("version", "5"));
    fs::create_dir(fixture.path("bin")).unwrap();
    fixture.script("bin/forgewatch", ADD);
    let hook = fixture.sim.sandbox.file("chain.sh", HOOK);
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o700)).unwrap();
    let folder = fixture.path("").display().to_string();
    let mut config = CONFIG.to_owned();
    for (example, here) in [
        ("https://api.multiplay.co.uk", fixture.sim.server.base_url()),
        ("/var/lib/forgewatch", folder.clone()),
        ("/run/forgewatch", folder.clone()),
        ("/usr/local/libexec/create-diff", create_diff),
        ("/usr/local/libexec/create-version", create_version),
    ] {
        assert!(config.contains(example), "{example}");
        config = config.replace(example, &here);
    }
    config += "[schedule]\nmin_interval = '20ms'\nmax_interval = '200ms'\n";
    fixture.sim.sandbox.file("fw.toml", config);
}
