//! Measures the time from kill -9 until the daemon is ready again, with many jobs. The times are printed, not asserted,
//! because they depend on machine and build. `MANY_JOBS` sets the number of jobs; the documented figures are from a release
//! build with 10,000.

use std::env;

use serde_json::Value;

use crate::fixture::{UNIT, boot};
use crate::print_line;

const KILLS: u32 = 5;

#[test]
fn the_daemon_recovers_from_kill_9_with_many_jobs() {
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
        machine.await_new_process(&main);
        // By systemd's clock, from the end of the process to READY=1.
        let downtime =
            micros("ActiveEnterTimestampMonotonic") - micros("ActiveExitTimestampMonotonic");
        figures.push((downtime / 1000).to_string());
    }
    print_line(&format!(
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
