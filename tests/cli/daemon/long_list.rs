//! Lists of thousands of ended watches, which the daemon sends in pages.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use forgewatch::store::{DaemonStore, JobListUpdate, SavedWatch, SqliteStore};
use forgewatch_core::event::WatchId;
use serde_json::{Value, json};

use super::{DaemonFixture, DaemonProcess, listed};
use crate::fixture::job;

/// Watches that ended, besides the one of diff/1.
const ENDED: u64 = 2_600;
/// The jobs update/1 to update/9 run until the test ends them.
const RUNNING: u64 = 9;
/// The most watches on a page.
const PAGE: usize = 500;

/// Starts a daemon with running jobs and these ended ones: version/1 to version/2600 have the label `parity`, and every
/// thousandth `rare`.
fn start() -> (DaemonFixture, DaemonProcess) {
    let running = || (1..=RUNNING).map(|n| format!("update/{n}"));
    let script: String = running()
        .map(|name| job(&name, "duration = '1h'"))
        .collect();
    let fixture = DaemonFixture::new(&(script + &job("diff/1", "")), &listed("diff/1"));
    let mut daemon = fixture.start();
    daemon.await_event("job.completed", "diff/1");
    daemon.stop("TERM");
    copy_ended(&fixture);
    let jobs: String = running().map(|name| listed(&name)).collect();
    fixture.configure(&(listed("diff/1") + &jobs));
    let mut daemon = fixture.start();
    for name in running() {
        daemon.await_event("job.watching", &name);
    }
    (fixture, daemon)
}

/// Copies the watch of diff/1 under other ids.
#[tokio::main(flavor = "current_thread")]
async fn copy_ended(fixture: &DaemonFixture) {
    let (store, _) = SqliteStore::open(&fixture.path("state.db")).unwrap();
    let newest = store.newest_watch("diff/1".parse().unwrap()).await;
    let ended = newest.unwrap().unwrap();
    let copy = |n: u64| {
        // Spread over all ids, as random ones are.
        let id = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let id = WatchId(id.to_be_bytes());
        let name = format!("version/{n}");
        let mut snapshot: Value = serde_json::from_str(&ended.snapshot).unwrap();
        snapshot["watch"] = id.to_string().into();
        snapshot["job"] = name.clone().into();
        let parity = if n.is_multiple_of(2) { "even" } else { "odd" };
        let mut labels = json!({ "parity": parity });
        if n.is_multiple_of(1_000) {
            labels["rare"] = "1".into();
        }
        SavedWatch {
            id,
            job: name.parse().unwrap(),
            labels: labels.to_string(),
            snapshot: snapshot.to_string(),
            ..ended.clone()
        }
    };
    let update = JobListUpdate {
        new_watches: (1..=ENDED).map(copy).collect(),
        ..JobListUpdate::default()
    };
    store.update_jobs(update).await.unwrap();
    store.close().await;
}

/// Requests a page of a list; returns its watches as `(id, job)` and the next page.
fn page(fixture: &DaemonFixture, list: &Value) -> (Vec<(String, String)>, Option<String>) {
    let mut client = UnixStream::connect(fixture.socket()).unwrap();
    let request = json!({ "protocol": 1, "request": { "list": list } });
    writeln!(client, "{request}").unwrap();
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).unwrap();
    let response: Value = serde_json::from_str(&line).unwrap();
    let response = &response["jobs"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let jobs = response["jobs"].as_array().unwrap().iter();
    let jobs: Vec<_> = jobs
        .map(|job| (text(&job["watch"]).unwrap(), text(&job["job"]).unwrap()))
        .collect();
    assert!(jobs.len() <= PAGE, "{}", jobs.len());
    (jobs, text(&response["next"]))
}

fn names(fixture: &DaemonFixture, args: &[&str]) -> Vec<String> {
    let list = fixture.client(&[&["list", "--json"], args].concat());
    let list: Vec<Value> = serde_json::from_str(&list.expect(0).stdout).unwrap();
    let started: Vec<i64> = list
        .iter()
        .map(|job| job["started_at_ms"].as_i64().unwrap())
        .collect();
    assert!(args.contains(&"--sort") || started.is_sorted());
    let name = |job: &Value| job["job"].as_str().unwrap().to_owned();
    list.iter().map(name).collect()
}

#[test]
fn thousands_of_ended_watches_are_listed_in_pages() {
    let (fixture, daemon) = start();
    let numbered = |kind: &str, numbers: &mut dyn Iterator<Item = u64>| -> Vec<String> {
        numbers.map(|n| format!("{kind}/{n}")).collect()
    };
    let ended = numbered("version", &mut (1..=ENDED));
    let running = numbered("update", &mut (1..=RUNNING));
    let all = [vec!["diff/1".to_owned()], running.clone(), ended].concat();
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(names(&fixture, &["--all"])), sorted(all.clone()));
    assert_eq!(sorted(names(&fixture, &[])), running);
    assert_eq!(names(&fixture, &["--state", "completed"]).len(), 2_601);
    let even = names(&fixture, &["--all", "-l", "parity=even", "--sort", "name"]);
    assert_eq!(even, numbered("version", &mut (2..=ENDED).step_by(2)));
    let rare = ["--all", "-l", "rare=1", "-l", "parity=even"];
    assert_eq!(names(&fixture, &rare), ["version/1000", "version/2000"]);
    assert_eq!(names(&fixture, &["-l", "parity=even"]), [""; 0]);

    // The table has a line for each, and `wait` selects from all pages.
    let table = fixture.client(&["list", "--all"]).expect(0).stdout;
    assert_eq!(table.lines().count(), 1 + all.len());
    let wait = fixture.client(&["wait", "--label", "rare=1", "--output", "json"]);
    assert_eq!(wait.expect(0).finished()["completed"], 2);

    // Of named jobs there is one page, and it has their newest watches alone.
    let named = json!({ "all": true, "jobs": ["version/7", "update/1", "diff/1", "diff/99"] });
    let (jobs, next) = page(&fixture, &named);
    let jobs: Vec<String> = jobs.into_iter().map(|(_, job)| job).collect();
    assert_eq!(sorted(jobs), ["diff/1", "update/1", "version/7"]);
    assert_eq!(next, None);
    daemon.stop("TERM");
}

#[test]
fn a_watch_that_ends_between_two_pages_is_in_exactly_one() {
    let (fixture, daemon) = start();
    // Whichever page a running job is on, it ends after some page.
    let mut running = 1..=RUNNING;
    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut list = json!({ "all": true });
    loop {
        let (jobs, next) = page(&fixture, &list);
        seen.extend(jobs);
        pages += 1;
        let Some(next) = next else {
            break;
        };
        list["after"] = next.into();
        for n in running.by_ref().take(2) {
            let name = format!("update/{n}");
            fixture.client(&["remove", &name]).expect(0);
        }
    }
    assert_eq!(pages, 6);
    assert!(running.is_empty());
    let ids: BTreeSet<&String> = seen.iter().map(|(id, _)| id).collect();
    let jobs: BTreeSet<&String> = seen.iter().map(|(_, job)| job).collect();
    let expected = (1 + RUNNING + ENDED) as usize;
    assert_eq!([seen.len(), ids.len(), jobs.len()], [expected; 3]);

    for after in ["", "version/7", "0", "-"] {
        let mut client = UnixStream::connect(fixture.socket()).unwrap();
        let request = json!({ "protocol": 1, "request": { "list": { "after": after } } });
        writeln!(client, "{request}").unwrap();
        let mut line = String::new();
        BufReader::new(client).read_line(&mut line).unwrap();
        assert!(line.contains("invalid place to continue"), "{line}");
    }
    daemon.stop("TERM");
}
