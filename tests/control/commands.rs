//! The client commands: their requests and output.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use forgewatch::control::protocol::{
    AddOutcome, AddedJob, DeliverySummary, JobPage, ListRequest, Request, Response,
};
use forgewatch_core::poll_log::WaitReason;
use forgewatch_core::schedule::{EstimateSource, ForecastBasis, WaitLimit};
use serde_json::Value;

use crate::fixture::TestDaemon;
use crate::samples::{deliveries, delivery, job, jobs, listing, shown};

#[test]
fn add_prints_an_outcome_for_each_job() {
    let daemon = TestDaemon::responding(|request| {
        let Request::Add { jobs, .. } = request else {
            panic!("{request:?}");
        };
        let outcomes = [
            AddOutcome::Started,
            AddOutcome::AlreadyWatched,
            AddOutcome::Ended("completed".to_owned()),
        ];
        let added = jobs.iter().zip(outcomes).map(|(&job, outcome)| AddedJob {
            job,
            watch: "a5".repeat(16),
            outcome,
        });
        Response::Added(added.collect())
    });
    let args = ["add", "diff/1", "--update", "7,8", "--label", "build=8812"];
    insta::assert_snapshot!(daemon.run(&args).shown(&daemon), @r"
        watching diff/1
        already watching update/7
        update/8 has already ended (completed); use --again to watch it again
        [0]
        ");
    let Request::Add {
        jobs,
        labels,
        again,
    } = daemon.next_request()
    else {
        panic!("unexpected request");
    };
    assert_eq!(jobs, ["diff/1", "update/7", "update/8"].map(job));
    assert_eq!(labels.get("build").map(String::as_str), Some("8812"));
    assert!(!again);
    daemon.run(&["add", "diff/1", "--again"]).expect(0);
    assert!(matches!(
        daemon.next_request(),
        Request::Add { again: true, .. }
    ));
}

#[test]
fn many_jobs_are_split_into_several_requests() {
    let daemon = TestDaemon::responding(|request| {
        let Request::Add { jobs, .. } = request else {
            panic!("{request:?}");
        };
        let added = jobs.iter().map(|&job| AddedJob {
            job,
            watch: String::new(),
            outcome: AddOutcome::Started,
        });
        Response::Added(added.collect())
    });
    let names = (0..2_500u64).map(|n| format!("update/{}\n", u64::MAX - n));
    let list = daemon.folder.path().join("jobs");
    fs::write(&list, names.collect::<String>()).unwrap();
    let done = daemon.run(&["add", "--jobs-file", "jobs"]).expect(0);
    assert_eq!(done.stdout.lines().count(), 2_500);
    let mut requested = 0;
    for _ in 0..3 {
        let Request::Add { jobs, .. } = daemon.next_request() else {
            panic!("unexpected request");
        };
        requested += jobs.len();
    }
    assert_eq!(requested, 2_500);
}

#[test]
fn jobs_are_read_from_standard_input() {
    let daemon = TestDaemon::responding(|_| Response::Removed {
        removed: vec![job("diff/5")],
        unknown: Vec::new(),
    });
    let mut program = daemon.program(&["remove", "--jobs-file", "-"]);
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
    assert_eq!(daemon.next_request(), Request::Remove { jobs });
}

#[test]
fn removing_an_unwatched_job_fails_but_the_others_are_removed() {
    let daemon = TestDaemon::responding(|_| Response::Removed {
        removed: vec![job("diff/1")],
        unknown: vec![job("update/7")],
    });
    let done = daemon.run(&["remove", "diff/1", "update/7"]);
    insta::assert_snapshot!(done.shown(&daemon), @r"
        removed diff/1
        error: update/7 is not watched
        [1]
        ");
}

#[test]
fn list_is_a_table_without_control_characters() {
    let daemon = TestDaemon::responding(|request| match request {
        Request::List(list) => listing(jobs().split_off(usize::from(list.all))),
        _ => panic!("{request:?}"),
    });
    insta::assert_snapshot!(daemon.run(&["list"]).shown(&daemon), @r"
        JOB                         STATE         PROGRESS   LEFT        NEXT   REQUESTS   LABELS
        diff/1234                   running       40%        ETA 2m 9s   12s    7          build=8812,stage=live
        update/77                   unreachable   40%        ETA 2m 9s   12s    7          build=8812,stage=live
        diff/7                      completed     40%        -           -      7          note=\x1b[2J\u{202e}::error::x\nforged   1
        diff/18446744073709551615   starting      -          -           now    0          -
        [0]
        ");
    let all = daemon.run(&["list", "--all"]).expect(0).stdout;
    assert!(all.lines().next().unwrap().contains("ENDED"), "{all}");
}

#[test]
fn list_collects_all_pages_and_sorts_them() {
    let daemon = TestDaemon::responding(|request| {
        let Request::List(list) = request else {
            panic!("{request:?}");
        };
        let (numbers, next) = match list.after.as_deref() {
            None => ([2, 3].as_slice(), Some("a")),
            Some("a") => ([].as_slice(), Some("b")),
            Some("b") => ([0, 1].as_slice(), None),
            Some(other) => panic!("{other}"),
        };
        Response::Jobs(JobPage {
            jobs: numbers.iter().map(|&n| jobs()[n].clone()).collect(),
            next: next.map(str::to_owned),
        })
    });
    let args = ["list", "--all", "-l", "build=8812", "--json"];
    let printed: Value = serde_json::from_str(&daemon.run(&args).expect(0).stdout).unwrap();
    assert_eq!(printed, serde_json::to_value(jobs()).unwrap());
    for _ in 0..3 {
        let Request::List(ListRequest { all, labels, .. }) = daemon.next_request() else {
            panic!("unexpected request");
        };
        assert!(all);
        assert_eq!(labels.get("build").map(String::as_str), Some("8812"));
    }
    assert!(!daemon.has_request());
}

#[test]
fn list_fits_the_terminal_and_is_complete_elsewhere() {
    let daemon = TestDaemon::responding(|_| listing(jobs()));
    let exe = env!("CARGO_BIN_EXE_forgewatch");
    let mut terminal = daemon.program(&[]);
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
        .env("FORGEWATCH_SOCKET", daemon.socket())
        .run()
        .expect(0);
    assert_eq!(done.stdout.lines().count(), 5, "{}", done.stdout);
    for line in done.stdout.lines() {
        assert!(line.trim_end().chars().count() <= 60, "{line}");
    }
    assert!(done.stdout.contains('…'), "{}", done.stdout);
    let piped = daemon.run(&["list"]).expect(0).stdout;
    assert!(piped.contains("build=8812,stage=live"), "{piped}");
}

#[test]
fn empty_lists_are_reported_on_standard_error() {
    let daemon = TestDaemon::responding(|request| match request {
        Request::List(_) => listing(Vec::new()),
        _ => deliveries(Vec::new()),
    });
    for args in [&["list"][..], &["hooks", "list"]] {
        let done = daemon.run(args).expect(0);
        assert!(
            done.stdout.is_empty() && !done.stderr.is_empty(),
            "{done:?}"
        );
    }
    for args in [&["list", "--json"][..], &["hooks", "list", "--json"]] {
        assert_eq!(daemon.run(args).expect(0).stdout, "[]\n");
    }
}

#[test]
fn json_is_the_response_on_one_line_without_control_characters() {
    let daemon = TestDaemon::responding(|request| match request {
        Request::List(_) => listing(jobs()),
        Request::Show { .. } => Response::Job(Box::new(shown())),
        _ => deliveries(vec![delivery()]),
    });
    for (args, expected) in [
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
        let stdout = daemon.run(args).expect(0).stdout;
        let printed: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(printed, expected.unwrap());
        assert_eq!(stdout.lines().count(), 1);
        assert!(!stdout.contains(['\x1b', '\u{202e}']), "{stdout}");
    }
}

/// The keys in the manual's table with this header.
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
fn the_manual_lists_exactly_the_keys_of_the_json_output() {
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

    let bounded = ForecastBasis {
        earlier_jobs: Some(1.0),
        main_source: Some(EstimateSource::Eta),
        limited_by: Some(WaitLimit::ShortJob),
        ..ForecastBasis::default()
    };
    let causes = [
        WaitReason::Forecast(bounded),
        WaitReason::Backoff { failures: 2 },
    ];
    let causes = causes.map(|cause| serde_json::to_value(cause).unwrap());
    assert_eq!(keys(&causes), documented("of `next_poll_reason`"));

    let due = DeliverySummary {
        due_at_ms: Some(1),
        ..delivery()
    };
    let due = serde_json::to_value(due).unwrap();
    assert_eq!(keys([&due]), documented("of a delivery"));
}

#[test]
fn show_prints_a_job_with_its_history() {
    let daemon = TestDaemon::responding(|_| Response::Job(Box::new(shown())));
    insta::assert_snapshot!(daemon.run(&["show", "diff/1234"]).shown(&daemon), @r#"
        Job:       diff/1234
        Watch:     a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5
        State:     running
        Progress:  40%
        Time left: ETA 2m 9s
        Labels:    build=8812,stage=live
        Requests:  7 since 2027-01-15T08:00:00.000Z
        Next poll: in 12s: mostly by its ETA
        Estimates: 2m 10s left by its ETA
                   2m 8s left by its progress rate

        Events:
          2027-01-15T08:00:00.000Z  job.watching       diff/1234 is running at 10%
          2027-01-15T08:00:01.000Z  job.unreachable    diff/1234 is unreachable: \x1b[2J429
          {"something":"else"}

        Last polls:
          2027-01-15T08:00:01.000Z  rate_limited: the server is busy \x1b[2J; next after 1m: the server requested this pause
          2027-01-15T08:01:01.000Z  running, 40%, ETA 30s ago; next after 12s: mostly by its ETA

        Deliveries:
          ID                                        EVENT        JOB         STATE    ATTEMPTS   DUE   ERROR
          a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5-3/chat   job.failed   diff/1234   failed   8          -     exit status 1: \x1b[31mno\nroute
        [0]
        "#);
    let job = job("diff/1234");
    assert_eq!(daemon.next_request(), Request::Show { job });
}

#[test]
fn deliveries_are_listed_retried_and_discarded() {
    let daemon = TestDaemon::responding(|request| match request {
        Request::ListDeliveries => deliveries(vec![delivery()]),
        Request::DiscardDelivery { .. } => Response::error("no failed delivery x/y"),
        _ => Response::Done,
    });
    let id = delivery().id;
    let done = [
        daemon.run(&["hooks", "list"]),
        daemon.run(&["hooks", "retry", &id]),
        daemon.run(&["hooks", "discard", "x/y"]),
    ];
    let shown: Vec<String> = done.iter().map(|done| done.shown(&daemon)).collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
        ID                                        EVENT        JOB         STATE    ATTEMPTS   DUE   ERROR
        a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5-3/chat   job.failed   diff/1234   failed   8          -     exit status 1: \x1b[31mno\nroute
        [0]
        retrying a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5-3/chat
        [0]
        error: no failed delivery x/y
        [1]
        ");
    daemon.next_request();
    assert_eq!(
        daemon.next_request(),
        Request::RetryDelivery { delivery: id }
    );
}

#[test]
fn omitted_deliveries_are_counted_on_standard_error() {
    let daemon = TestDaemon::responding(|_| Response::Deliveries {
        deliveries: vec![delivery()],
        omitted: 99_744,
    });
    for args in [&["hooks", "list"][..], &["hooks", "list", "--json"]] {
        let done = daemon.run(args).expect(0);
        assert_eq!(
            done.stderr,
            "99744 more not shown; of failed deliveries, only the newest are listed\n"
        );
        assert!(done.stdout.contains(&delivery().id), "{done:?}");
    }
}
