//! A one-shot with `--state`.

use rusqlite::Connection;

use crate::fixture::{CliProcess, SimFixture, faulty, job};

#[test]
fn a_killed_one_shot_continues_with_the_next_run() {
    let fixture = SimFixture::new(&(job("diff/1", "") + &job("update/2", "duration = '3s'")));
    let args = ["diff/1", "update/2", "--state", "watch.db"];
    let watching = fixture.watch(&args).start();
    fixture.await_requests("update/2", 4);
    // The end of diff/1 is recorded by then, or the next run sees it.
    drop(watching);
    let done = fixture.watch(&args).run().expect(0);
    let finished = done.finished();
    assert_eq!(finished["completed"], 2, "{done:?}");
    let end = done.end_of("update/2");
    assert_eq!(end["event_type"], "job.completed");
    assert!(
        end["seq"].as_u64() > Some(1),
        "it started in the first run: {end}"
    );
    assert!(end["requests"].as_u64() >= Some(4), "{end}");

    let requests = fixture.server.log().len();
    let again = fixture.watch(&args).run().expect(0);
    let finished = again.finished();
    assert_eq!(
        (&finished["jobs"], &finished["completed"]),
        (&2.into(), &2.into())
    );
    for job in ["diff/1", "update/2"] {
        let line = format!("{job} ended in an earlier run: completed");
        assert!(again.stdout.contains(&line), "{again:?}");
    }
    assert_eq!(
        fixture.server.log().len(),
        requests + 2,
        "one poll of each ended job decides whether it was run again"
    );
    let other = ["diff/1", "--state", "watch.db", "--timeout", "1m"];
    assert_eq!(
        fixture.watch(&other).run().expect(0).finished()["completed"],
        1
    );
}

#[test]
fn a_job_that_was_run_again_on_the_server_is_watched_again() {
    let failed = SimFixture::new(&job("diff/1", "ending = 'failed'\nerror = 'boom'"));
    let args = ["diff/1", "--state", "watch.db"];
    failed.watch(&args).run().expect(1);
    let requests = failed.server.log().len();
    let same = failed.watch(&args).run().expect(1);
    let line = "diff/1 ended in an earlier run: failed: boom; to start a new watch: --again";
    assert_eq!(same.stdout.matches(line).count(), 1, "{same:?}");
    assert!(same.events_of("diff/1").is_empty(), "{same:?}");
    assert_eq!(failed.server.log().len(), requests + 1);

    let completes = SimFixture::new(&job("diff/1", ""));
    let watch = |args: &[&str]| {
        let base = completes.server.base_url();
        failed.sandbox.watch_at(&base, args).run().expect(0)
    };
    let rerun = watch(&args);
    assert_eq!(rerun.end_of("diff/1")["event_type"], "job.completed");
    assert!(watch(&args).events_of("diff/1").is_empty());
    let again = watch(&[&args[..], &["--again"]].concat()).end_of("diff/1");
    assert_eq!(again["event_type"], "job.completed");
    assert_ne!(again["watch"], rerun.end_of("diff/1")["watch"]);
}

#[test]
fn a_signal_during_the_poll_of_an_ended_job_interrupts_the_run() {
    let completes = SimFixture::new(&job("diff/1", ""));
    let args = ["diff/1", "--state", "watch.db"];
    completes.watch(&args).run().expect(0);
    let hangs = SimFixture::new(&faulty("diff/1", "1-", "delay = '1h'"));
    let base = hangs.server.base_url();
    let watching = completes.sandbox.watch_at(&base, &args).start();
    hangs.await_requests("diff/1", 1);
    watching.signal("TERM");
    let stopped = watching.wait().expect(143);
    assert_eq!(
        stopped.end_of("diff/1")["event_type"],
        "job.abandoned",
        "{stopped:?}"
    );
}

#[test]
fn a_pause_that_the_api_requests_holds_for_the_polls_of_ended_jobs() {
    let jobs: Vec<String> = (1..=5).map(|id| format!("diff/{id}")).collect();
    let script = |fault: &str| {
        let all = jobs.iter().map(|name| job(name, ""));
        all.collect::<String>() + fault
    };
    let completes = SimFixture::new(&script(""));
    let mut args: Vec<&str> = jobs.iter().map(String::as_str).collect();
    args.extend(["--state", "watch.db"]);
    completes.watch(&args).run().expect(0);
    let pauses = SimFixture::new(&script(
        "[[faults]]\nrequests = '1-'\nstatus = 429\nretry_after = '60'\n",
    ));
    let config = completes
        .sandbox
        .file("config.toml", "[api]\nmax_in_flight = 1\n");
    let base = pauses.server.base_url();
    let done = completes
        .sandbox
        .watch_at(&base, &args)
        .env("FORGEWATCH_CONFIG", config)
        .run()
        .expect(0);
    assert_eq!(done.finished()["completed"], 5);
    assert_eq!(pauses.server.log().len(), 1, "{done:?}");
    assert_eq!(done.stdout.matches("429").count(), 5, "{done:?}");
}

#[test]
fn an_empty_file_is_a_new_state() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    fixture.sandbox.file("watch.db", "");
    let args = ["diff/1", "--state", "watch.db"];
    fixture.watch(&args).run().expect(0);
    let again = fixture.watch(&args).run().expect(0);
    assert!(again.events_of("diff/1").is_empty(), "{again:?}");
    // With a WAL it may be what a crash left.
    fixture.sandbox.file("other.db", "");
    fixture.sandbox.file("other.db-wal", "");
    fixture
        .watch(&["diff/1", "--state", "other.db"])
        .run()
        .expect(78);
}

#[test]
fn a_state_file_in_use_or_damaged_is_rejected() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '10m'"));
    let args = ["diff/1", "--state", "watch.db"];
    let first = fixture.watch(&args).start();
    fixture.await_requests("diff/1", 1);
    let second = fixture.watch(&args).run().expect(78);
    let holder = format!("in use by process {}", first.pid());
    assert!(second.stderr.contains(&holder), "{second:?}");
    first.signal("INT");
    let first = first.wait().expect(130);
    assert_eq!(first.end_of("diff/1")["event_type"], "job.abandoned");
    fixture.sandbox.file(
        "watch.db",
        "no database at all, but long enough to look like a page".repeat(99),
    );
    let damaged = fixture.watch(&args).run().expect(78);
    assert!(damaged.stderr.contains("watch.db"), "{damaged:?}");
}

#[test]
fn after_a_timeout_the_next_run_starts_a_new_watch() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '2s'"));
    let args = ["diff/1", "--state", "watch.db", "--timeout"];
    let short = [&args[..], &["200ms"]].concat();
    let first = fixture.watch(&short).run().expect(124);
    assert_eq!(first.end_of("diff/1")["event_type"], "job.timed_out");
    let long = [&args[..], &["1m"]].concat();
    let second = fixture.watch(&long).run().expect(0);
    assert_ne!(
        second.end_of("diff/1")["watch"],
        first.end_of("diff/1")["watch"]
    );
}

/// Locks the file, which to the watch is like a full disk.
fn lock(fixture: &SimFixture) -> Connection {
    let db = Connection::open(fixture.sandbox.path("watch.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    db
}

fn watching(fixture: &SimFixture, args: &[&str]) -> CliProcess {
    let running = fixture.watch(args).start();
    // The second request follows only after the result of the first is committed.
    fixture.await_requests("diff/1", 2);
    running
}

#[test]
fn the_wait_for_ends_that_cannot_be_recorded_is_limited() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '10m'"));
    let args = ["diff/1", "--state", "watch.db", "--timeout", "8s"];
    let first = watching(&fixture, &args);
    let lock = lock(&fixture);
    let first = first.wait().expect(78);
    assert!(
        first.stdout.contains("could not be stored in time"),
        "{first:?}"
    );
    assert_eq!(first.finished()["outcome"], "state_unusable", "{first:?}");
    drop(lock);
    let second = fixture.watch(&args).run().expect(124);
    let (first_event, end) = (&first.events_of("diff/1")[0], second.end_of("diff/1"));
    assert_eq!(
        first_event["watch"], end["watch"],
        "the same watch continues"
    );
    assert_eq!(end["event_type"], "job.timed_out");
}

#[test]
fn a_signal_ends_a_watch_that_cannot_record_its_end() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '10m'"));
    let args = ["diff/1", "--state", "watch.db"];
    let first = watching(&fixture, &args);
    let _lock = lock(&fixture);
    first.signal("TERM");
    let first = first.wait().expect(143);
    assert!(
        first.stdout.contains("could not be stored in time"),
        "{first:?}"
    );
}
