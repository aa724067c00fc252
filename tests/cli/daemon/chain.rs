//! Steps that are chained by a hook, as `config/examples/chain.toml` shows: whenever the daemon dies, there is one watch
//! of what the hook adds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use serde_json::Value;

use super::{Home, types};
use crate::place::job;

const CONFIG: &str = include_str!("../../../config/examples/chain.toml");
const HOOK: &str = include_str!("../../../config/examples/chain.sh");

/// The first `CREATE_DIFF` never comes to its end.
const CREATE_DIFF: &str = "echo $1 >> created; test -e may-create || exec sleep 600; echo 99";
/// The first `forgewatch add` is not heard to return.
const ADD: &str = concat!(
    env!("CARGO_BIN_EXE_forgewatch"),
    " \"$@\" || exit; echo $* >> added; test -e may-return || exec sleep 600"
);

#[test]
fn a_hook_that_adds_the_next_step_begins_one_watch_of_it_whenever_the_daemon_is_killed() {
    let home = Home::new(&(job("update/77", "") + &job("diff/99", "")), "");
    as_the_example_says(&home);

    let path = format!("{}:/usr/bin:/bin", home.path("bin").display());
    let start = || home.start_with("PATH", &path);
    let daemon = start();
    await_line(&home, "created");
    daemon.end("KILL");
    fs::write(home.path("may-create"), "").unwrap();

    let mut daemon = start();
    daemon.await_event("job.watching", "diff/99");
    await_line(&home, "added");
    daemon.end("KILL");
    fs::write(home.path("may-return"), "").unwrap();

    let mut daemon = start();
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    assert_eq!(
        home.lines("added").len(),
        2,
        "the second time it is heard of"
    );
    assert_eq!(
        home.lines("created"),
        ["77", "77"],
        "the one cut off, and one"
    );
    let events = || {
        let events = home.client(&["events"]).expect(0).stdout;
        let lines = events
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let about = lines.filter(|event: &Value| event["job"] == "diff/99");
        about.collect::<Vec<_>>()
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
    daemon.end("TERM");
}

fn await_line(home: &Home, name: &str) {
    while home.lines(name).is_empty() {
        thread::yield_now();
    }
}

/// Lays the example out as its reader would, with this machine's places in it.
fn as_the_example_says(home: &Home) {
    let create = home.script("create", CREATE_DIFF);
    fs::create_dir(home.path("bin")).unwrap();
    home.script("bin/forgewatch", ADD);
    let hook = home.stage.place.file("chain.sh", HOOK);
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o700)).unwrap();
    let folder = home.path("").display().to_string();
    let mut config = CONFIG.to_owned();
    for (example, here) in [
        ("https://api.multiplay.co.uk", home.stage.server.base_url()),
        ("/var/lib/forgewatch", folder.clone()),
        ("/run/forgewatch", folder.clone()),
        ("/usr/local/libexec/create-diff", create),
    ] {
        assert!(config.contains(example), "{example}");
        config = config.replace(example, &here);
    }
    config += "[schedule]\nmin_interval = '20ms'\nmax_interval = '200ms'\n";
    home.stage.place.file("fw.toml", config);
}
