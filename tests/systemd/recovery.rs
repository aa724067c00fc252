//! How soon it watches again after kill -9, with many jobs. The figures are told, not judged: they are the machine's and
//! the build's. `MANY_JOBS` in the environment says how many; those of a release build with 10,000 are what counts.

use std::env;

use serde_json::Value;

use crate::fixture::{UNIT, boot};
use crate::say;

const KILLS: u32 = 5;

#[test]
fn with_many_jobs_it_is_back_after_every_kill_9() {
    let jobs = env::var("MANY_JOBS").map_or(1000, |jobs| jobs.parse().unwrap());
    let Some(machine) = boot(&(1..jobs), jobs - 1) else {
        return;
    };
    machine.put_credential();
    machine.ok(&["systemctl", "start", UNIT]);
    let micros = |name: &str| machine.property(name).parse::<u64>().unwrap();
    let mut figures = Vec::new();
    for _ in 0..KILLS {
        machine.await_watching(jobs as usize);
        let main = machine.property("MainPID");
        machine.ok(&["kill", "-KILL", &main]);
        machine.await_another(&main);
        // systemd's own clock: when it saw the end, and when it was told READY.
        let away = micros("ActiveEnterTimestampMonotonic") - micros("ActiveExitTimestampMonotonic");
        figures.push((away / 1000).to_string());
    }
    say(&format!(
        "{jobs} jobs: ready {} ms after kill -9",
        figures.join(", ")
    ));
    let log = machine.log();
    let begun = log.iter().filter(|r| r["event_type"] == "job.watching");
    let mut begun: Vec<&Value> = begun.map(|record| &record["job"]).collect();
    let all = begun.len();
    begun.sort_by_key(|job| job.as_str());
    begun.dedup();
    assert_eq!(begun.len(), all, "a job was watched twice");
}
