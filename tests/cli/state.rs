//! A one-shot that remembers: `--state`.

use rusqlite::Connection;

use crate::place::{Running, Stage, job};

#[test]
fn a_one_shot_that_was_killed_goes_on_where_it_was() {
    let stage = Stage::new(&(job("diff/1", "") + &job("update/2", "duration = '3s'")));
    let args = ["diff/1", "update/2", "--state", "watch.db"];
    let watching = stage.watch(&args).start();
    stage.await_hits("update/2", 4);
    // The quick one's end is on record by then, or seen by the next run.
    drop(watching);
    let done = stage.watch(&args).run().expect(0);
    let finished = done.finished();
    assert_eq!(finished["completed"], 2, "{done:?}");
    let end = done.end_of("update/2");
    assert_eq!(end["event_type"], "job.completed");
    assert!(
        end["seq"].as_u64() > Some(1),
        "it began in the first run: {end}"
    );
    assert!(end["requests"].as_u64() >= Some(4), "{end}");

    let asked = stage.server.log().len();
    let again = stage.watch(&args).run().expect(0);
    let finished = again.finished();
    assert_eq!(
        (&finished["jobs"], &finished["completed"]),
        (&2.into(), &2.into())
    );
    for job in ["diff/1", "update/2"] {
        let said = format!("{job} had ended before this run: completed");
        assert!(again.stdout.contains(&said), "{again:?}");
    }
    assert_eq!(
        stage.server.log().len(),
        asked,
        "what has ended is not asked again"
    );
    let other = ["diff/1", "--state", "watch.db", "--timeout", "1m"];
    assert_eq!(
        stage.watch(&other).run().expect(0).finished()["completed"],
        1
    );
}

#[test]
fn a_state_that_is_in_use_or_damaged_is_not_used() {
    let stage = Stage::new(&job("diff/1", "duration = '10m'"));
    let args = ["diff/1", "--state", "watch.db"];
    let first = stage.watch(&args).start();
    stage.await_hits("diff/1", 1);
    let second = stage.watch(&args).run().expect(78);
    let holder = format!("in use by process {}", first.pid());
    assert!(second.stderr.contains(&holder), "{second:?}");
    first.signal("INT");
    let first = first.wait().expect(130);
    assert_eq!(first.end_of("diff/1")["event_type"], "job.abandoned");
    stage.place.file(
        "watch.db",
        "no database at all, but long enough to look like a page".repeat(99),
    );
    let damaged = stage.watch(&args).run().expect(78);
    assert!(damaged.stderr.contains("watch.db"), "{damaged:?}");
}

#[test]
fn after_an_interruption_the_job_is_watched_anew() {
    let stage = Stage::new(&job("diff/1", "duration = '2s'"));
    let args = ["diff/1", "--state", "watch.db", "--timeout"];
    let short = [&args[..], &["200ms"]].concat();
    let first = stage.watch(&short).run().expect(124);
    assert_eq!(first.end_of("diff/1")["event_type"], "job.timed_out");
    let long = [&args[..], &["1m"]].concat();
    let second = stage.watch(&long).run().expect(0);
    assert_ne!(
        second.end_of("diff/1")["watch"],
        first.end_of("diff/1")["watch"]
    );
}

/// Another program has the file for itself: for the watch it is as with a full disk.
fn lock(stage: &Stage) -> Connection {
    let db = Connection::open(stage.place.path("watch.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    db
}

fn watching(stage: &Stage, args: &[&str]) -> Running {
    let running = stage.watch(args).start();
    // The second request follows what the first one brought, and that is on record.
    stage.await_hits("diff/1", 2);
    running
}

#[test]
fn ends_that_can_not_be_recorded_are_not_waited_for_for_ever() {
    let stage = Stage::new(&job("diff/1", "duration = '10m'"));
    let args = ["diff/1", "--state", "watch.db", "--timeout", "8s"];
    let first = watching(&stage, &args);
    let lock = lock(&stage);
    let first = first.wait().expect(78);
    assert!(
        first.stdout.contains("could not be recorded in time"),
        "{first:?}"
    );
    assert_eq!(first.finished()["outcome"], "state_unusable", "{first:?}");
    drop(lock);
    let second = stage.watch(&args).run().expect(124);
    let (begun, end) = (&first.events_of("diff/1")[0], second.end_of("diff/1"));
    assert_eq!(begun["watch"], end["watch"], "it goes on where it was");
    assert_eq!(end["event_type"], "job.timed_out");
}

#[test]
fn a_signal_ends_a_watch_that_can_not_record_anything_any_more() {
    let stage = Stage::new(&job("diff/1", "duration = '10m'"));
    let args = ["diff/1", "--state", "watch.db"];
    let first = watching(&stage, &args);
    let _lock = lock(&stage);
    first.signal("TERM");
    let first = first.wait().expect(143);
    assert!(
        first.stdout.contains("could not be recorded in time"),
        "{first:?}"
    );
}
