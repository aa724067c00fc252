//! A hook that adds the next job, as in `config/examples/chain.toml`: whenever the daemon is killed, that job gets exactly
//! one watch.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use serde_json::Value;

use super::{DaemonFixture, types};
use crate::fixture::job;

const CONFIG: &str = include_str!("../../../config/examples/chain.toml");
const HOOK: &str = include_str!("../../../config/examples/chain.sh");

/// The first run never ends.
const CREATE_DIFF: &str = "echo $1 >> created; test -e may-create || exec sleep 600; echo 99";
/// The first `forgewatch add` never returns to the hook.
const ADD: &str = concat!(
    env!("CARGO_BIN_EXE_forgewatch"),
    " \"$@\" || exit; echo $* >> added; test -e may-return || exec sleep 600"
);

#[test]
fn a_hook_that_adds_the_next_job_starts_one_watch_whenever_the_daemon_is_killed() {
    let fixture = DaemonFixture::new(&(job("update/77", "") + &job("diff/99", "")), "");
    install_example(&fixture);

    let path = format!("{}:/usr/bin:/bin", fixture.path("bin").display());
    let start = || fixture.start_with("PATH", &path);
    let daemon = start();
    await_line(&fixture, "created");
    daemon.stop("KILL");
    fs::write(fixture.path("may-create"), "").unwrap();

    let mut daemon = start();
    daemon.await_event("job.watching", "diff/99");
    await_line(&fixture, "added");
    daemon.stop("KILL");
    fs::write(fixture.path("may-return"), "").unwrap();

    let mut daemon = start();
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    assert_eq!(
        fixture.lines("added").len(),
        2,
        "once before the kill, once after it"
    );
    assert_eq!(
        fixture.lines("created"),
        ["77", "77"],
        "once interrupted, once complete"
    );
    let events = || {
        let events = fixture.client(&["events"]).expect(0).stdout;
        let lines = events
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let of_job = lines.filter(|event: &Value| event["job"] == "diff/99");
        of_job.collect::<Vec<_>>()
    };
    if !types(&events()).contains(&"job.completed") {
        daemon.await_event("job.completed", "diff/99");
    }
    let events = events();
    for once in ["job.watching", "job.completed"] {
        let times = types(&events).iter().filter(|&&kind| kind == once).count();
        assert_eq!(times, 1, "{events:#?}");
    }
    assert_eq!(events[0]["labels"]["after"], "update/77");
    daemon.stop("TERM");
}

fn await_line(fixture: &DaemonFixture, name: &str) {
    while fixture.lines(name).is_empty() {
        thread::yield_now();
    }
}

/// Installs the example as its reader would, with the paths of the fixture.
fn install_example(fixture: &DaemonFixture) {
    let create = fixture.script("create", CREATE_DIFF);
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
        ("/usr/local/libexec/create-diff", create),
    ] {
        assert!(config.contains(example), "{example}");
        config = config.replace(example, &here);
    }
    config += "[schedule]\nmin_interval = '20ms'\nmax_interval = '200ms'\n";
    fixture.sim.sandbox.file("fw.toml", config);
}
