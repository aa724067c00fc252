//! A one-shot that remembers: `--state`.

use crate::place::{Stage, job};

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
    assert_eq!(again.finished()["completed"], 2);
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
