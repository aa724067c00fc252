//! The commands: what they ask, and what they print of the answer.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use forgewatch::control::protocol::{AddedJob, Answer, DeliveryLine, How, Request};
use forgewatch_core::poll_log::WaitReason;
use forgewatch_core::schedule::{Bound, Source, Why};
use serde_json::Value;

use crate::fixture::Stage;
use crate::samples::{deliveries, delivery, job, jobs, shown};

#[test]
fn add_says_of_each_job_what_became_of_it() {
    let stage = Stage::answering(|request| {
        let Request::Add { jobs, .. } = request else {
            panic!("{request:?}");
        };
        let hows = [How::Begun, How::Watched, How::Ended("completed".to_owned())];
        let added = jobs.iter().zip(hows).map(|(&job, how)| AddedJob {
            job,
            watch: "a5".repeat(16),
            how,
        });
        Answer::Added(added.collect())
    });
    let args = ["add", "diff/1", "--update", "7,8", "--label", "build=8812"];
    insta::assert_snapshot!(stage.run(&args).shown(&stage), @r"
        diff/1 is watched from now on
        update/7 is being watched already
        update/8 has ended (completed) and stays as it is; --again watches it anew
        [0]
        ");
    let Request::Add {
        jobs,
        labels,
        again,
    } = stage.asked()
    else {
        panic!("something else was asked");
    };
    assert_eq!(jobs, ["diff/1", "update/7", "update/8"].map(job));
    assert_eq!(labels.get("build").map(String::as_str), Some("8812"));
    assert!(!again);
    stage.run(&["add", "diff/1", "--again"]).expect(0);
    assert!(matches!(stage.asked(), Request::Add { again: true, .. }));
}

#[test]
fn more_jobs_than_a_request_holds_are_asked_for_in_several() {
    let stage = Stage::answering(|request| {
        let Request::Add { jobs, .. } = request else {
            panic!("{request:?}");
        };
        let added = jobs.iter().map(|&job| AddedJob {
            job,
            watch: String::new(),
            how: How::Begun,
        });
        Answer::Added(added.collect())
    });
    let names = (0..2_500u64).map(|n| format!("update/{}\n", u64::MAX - n));
    let list = stage.folder.path().join("jobs");
    fs::write(&list, names.collect::<String>()).unwrap();
    let done = stage.run(&["add", "--jobs-file", "jobs"]).expect(0);
    assert_eq!(done.stdout.lines().count(), 2_500);
    let mut asked = 0;
    for _ in 0..3 {
        let Request::Add { jobs, .. } = stage.asked() else {
            panic!("something else was asked");
        };
        asked += jobs.len();
    }
    assert_eq!(asked, 2_500);
}

#[test]
fn jobs_come_from_standard_input_too() {
    let stage = Stage::answering(|_| Answer::Removed {
        removed: vec![job("diff/5")],
        unknown: Vec::new(),
    });
    let mut program = stage.program(&["remove", "--jobs-file", "-"]);
    program.0.stdin(Stdio::piped());
    let mut child = program.start();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"diff/5 # done\n\n")
        .unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    let jobs = vec![job("diff/5")];
    assert_eq!(stage.asked(), Request::Remove { jobs });
}

#[test]
fn removing_what_is_not_watched_is_a_failure_but_the_others_go() {
    let stage = Stage::answering(|_| Answer::Removed {
        removed: vec![job("diff/1")],
        unknown: vec![job("update/7")],
    });
    let done = stage.run(&["remove", "diff/1", "update/7"]);
    insta::assert_snapshot!(done.shown(&stage), @r"
        diff/1 is no longer watched
        error: update/7 is not watched
        [1]
        ");
}

#[test]
fn list_is_a_table_without_anything_that_a_terminal_obeys() {
    let stage = Stage::answering(|request| match request {
        Request::List { all } => Answer::Jobs(jobs().split_off(usize::from(*all))),
        _ => panic!("{request:?}"),
    });
    insta::assert_snapshot!(stage.run(&["list"]).shown(&stage), @r"
        JOB                         STATE         PROGRESS   LEFT    NEXT   REQUESTS   LABELS
        diff/1234                   running       40%        2m10s   12s    7          build=8812,stage=live
        update/77                   unreachable   40%        2m10s   12s    7          build=8812,stage=live
        diff/18446744073709551615   asking        -          -       now    0          -
        diff/7                      completed     40%        -       -      7          note=\x1b[2J\u{202e}::error::x\nforged   1
        [0]
        ");
    let all = stage.run(&["list", "--all"]).expect(0).stdout;
    assert!(all.lines().next().unwrap().contains("ENDED"), "{all}");
}

#[test]
fn list_fits_the_terminal_and_is_whole_elsewhere() {
    let stage = Stage::answering(|_| Answer::Jobs(jobs()));
    let exe = env!("CARGO_BIN_EXE_forgewatch");
    let mut terminal = stage.program(&[]);
    terminal.0 = Command::new("script");
    let line = format!("stty rows 20 cols 60; exec {exe} list");
    terminal
        .0
        .args(["-qefc", &line, "/dev/null"])
        .env("LANG", "C.UTF-8")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let done = terminal
        .env("FORGEWATCH_SOCKET", stage.socket())
        .run()
        .expect(0);
    assert_eq!(done.stdout.lines().count(), 5, "{}", done.stdout);
    for line in done.stdout.lines() {
        assert!(line.trim_end().chars().count() <= 60, "{line}");
    }
    assert!(done.stdout.contains('…'), "{}", done.stdout);
    let piped = stage.run(&["list"]).expect(0).stdout;
    assert!(piped.contains("build=8812,stage=live"), "{piped}");
}

#[test]
fn nothing_to_list_is_said_aside() {
    let stage = Stage::answering(|request| match request {
        Request::List { .. } => Answer::Jobs(Vec::new()),
        _ => deliveries(Vec::new()),
    });
    for args in [&["list"][..], &["hooks", "list"]] {
        let done = stage.run(args).expect(0);
        assert!(
            done.stdout.is_empty() && !done.stderr.is_empty(),
            "{done:?}"
        );
    }
    for args in [&["list", "--json"][..], &["hooks", "list", "--json"]] {
        assert_eq!(stage.run(args).expect(0).stdout, "[]\n");
    }
}

#[test]
fn json_is_what_the_daemon_said_on_one_harmless_line() {
    let stage = Stage::answering(|request| match request {
        Request::List { .. } => Answer::Jobs(jobs()),
        Request::Show { .. } => Answer::Job(Box::new(shown())),
        _ => deliveries(vec![delivery()]),
    });
    for (args, said) in [
        (&["list", "--json"][..], serde_json::to_value(jobs())),
        (
            &["show", "diff/1234", "--json"],
            serde_json::to_value(shown()),
        ),
        (
            &["hooks", "list", "--json"],
            serde_json::to_value([delivery()]),
        ),
    ] {
        let stdout = stage.run(args).expect(0).stdout;
        let printed: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(printed, said.unwrap());
        assert_eq!(stdout.lines().count(), 1);
        assert!(!stdout.contains(['\x1b', '\u{202e}']), "{stdout}");
    }
}

/// The keys that the manual has in the table of this head.
fn documented(head: &str) -> BTreeSet<&'static str> {
    let manual = include_str!("../../docs/daemon.md");
    let (_, table) = manual
        .split_once(&format!("\n| {head} | what |\n"))
        .unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let first_cells = rows.filter_map(|row| row.split('|').nth(1));
    first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

/// The keys of all these objects.
fn keys<'a>(objects: impl IntoIterator<Item = &'a Value>) -> BTreeSet<&'a str> {
    let keys = objects.into_iter().filter_map(Value::as_object);
    keys.flat_map(|object| object.keys().map(String::as_str))
        .collect()
}

#[test]
fn the_manual_has_every_key_that_json_has_and_no_other() {
    let watches: Vec<Value> = jobs()
        .iter()
        .map(|job| serde_json::to_value(job).unwrap())
        .collect();
    assert_eq!(keys(&watches), documented("of a watch"));

    let shown = serde_json::to_value(shown()).unwrap();
    let of_a_watch = documented("of a watch");
    let added = keys([&shown])
        .into_iter()
        .filter(|key| !of_a_watch.contains(key));
    assert_eq!(added.collect::<BTreeSet<_>>(), documented("`show` adds"));
    assert_eq!(
        keys(shown["polls"].as_array().unwrap()),
        documented("of a poll")
    );

    let bounded = Why {
        life: Some(1.0),
        weighs_most: Some(Source::Eta),
        bound: Some(Bound::ShortJob),
        ..Why::default()
    };
    let causes = [
        WaitReason::Forecast(bounded),
        WaitReason::Backoff { failures: 2 },
    ];
    let causes = causes.map(|cause| serde_json::to_value(cause).unwrap());
    assert_eq!(keys(&causes), documented("of `why`"));

    let due = DeliveryLine {
        due_ms: Some(1),
        ..delivery()
    };
    let due = serde_json::to_value(due).unwrap();
    assert_eq!(keys([&due]), documented("of a delivery"));
}

#[test]
fn show_tells_where_a_job_stands_and_what_led_there() {
    let stage = Stage::answering(|_| Answer::Job(Box::new(shown())));
    insta::assert_snapshot!(stage.run(&["show", "diff/1234"]).shown(&stage), @r#"
        Job:       diff/1234
        Watch:     a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5
        State:     running
        Progress:  40%
        Left:      about 2m 10s
        Labels:    build=8812,stage=live
        Requests:  7 since 2027-01-15T08:00:00.000Z
        Next poll: in 12s: going mostly by its ETA
        Estimates: 2m 10s left by its ETA
                   2m 8s left by the pace of its progress

        History:
          2027-01-15T08:00:00.000Z  job.watching       diff/1234 is running at 10 %
          2027-01-15T08:00:01.000Z  job.unreachable    diff/1234 cannot be asked: \x1b[2J429
          {"something":"else"}

        Last polls:
          2027-01-15T08:00:01.000Z  rate_limited: the server is busy \x1b[2J; the next after 1m: the server asked for this pause
          2027-01-15T08:01:01.000Z  running, 40%, ETA 30s ago; the next after 12s: going mostly by its ETA

        Deliveries:
          ID                                        EVENT        JOB         STANDING   ATTEMPTS   DUE   ERROR
          a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5-3/chat   job.failed   diff/1234   given up   8          -     exit status 1: \x1b[31mno\nroute
        [0]
        "#);
    let job = job("diff/1234");
    assert_eq!(stage.asked(), Request::Show { job });
}

#[test]
fn deliveries_are_listed_retried_and_discarded() {
    let stage = Stage::answering(|request| match request {
        Request::Hooks => deliveries(vec![delivery()]),
        Request::DiscardHook { .. } => Answer::refused("there is no delivery x/y given up"),
        _ => Answer::Done,
    });
    let id = delivery().id;
    let done = [
        stage.run(&["hooks", "list"]),
        stage.run(&["hooks", "retry", &id]),
        stage.run(&["hooks", "discard", "x/y"]),
    ];
    let shown: Vec<String> = done.iter().map(|done| done.shown(&stage)).collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
        ID                                        EVENT        JOB         STANDING   ATTEMPTS   DUE   ERROR
        a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5-3/chat   job.failed   diff/1234   given up   8          -     exit status 1: \x1b[31mno\nroute
        [0]
        a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5-3/chat is tried again
        [0]
        error: there is no delivery x/y given up
        [1]
        ");
    stage.asked();
    assert_eq!(stage.asked(), Request::RetryHook { delivery: id });
}

#[test]
fn deliveries_that_are_not_shown_are_counted_aside() {
    let stage = Stage::answering(|_| Answer::Deliveries {
        lines: vec![delivery()],
        more: 99_744,
    });
    for args in [&["hooks", "list"][..], &["hooks", "list", "--json"]] {
        let done = stage.run(args).expect(0);
        assert_eq!(
            done.stderr,
            "99744 more are not shown; of those given up these are the newest\n"
        );
        assert!(done.stdout.contains(&delivery().id), "{done:?}");
    }
}
