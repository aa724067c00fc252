//! Clients that do not wait for their answer.

use std::io::Write;
use std::os::unix::net::UnixStream;

use super::{Home, listed};
use crate::place::job;

#[test]
fn clients_that_leave_before_their_answer_harm_nobody_and_what_they_asked_is_done() {
    let script: String = ["diff/1", "diff/2", "diff/3"]
        .iter()
        .map(|name| job(name, "duration = '10m'"))
        .collect();
    let home = Home::new(&script, &listed("diff/1"));
    let mut daemon = home.start();
    home.client(&["add", "diff/2"]).expect(0);
    for request in [
        r#"{"list":{"all":true}}"#,
        r#"{"show":{"job":"diff/1"}}"#,
        r#""hooks""#,
        r#""reload""#,
        r#"{"retry_hook":{"delivery":"x/y"}}"#,
        r#"{"events":{"since":"beginning","follow":true}}"#,
        r#"{"add":{"jobs":["diff/3"]}}"#,
        r#"{"remove":{"jobs":["diff/2"]}}"#,
    ] {
        // More of them than are served at once.
        for _ in 0..20 {
            let mut client = UnixStream::connect(home.socket()).unwrap();
            client.write_all(request.as_bytes()).unwrap();
            client.write_all(b"\n").unwrap();
        }
    }
    daemon.await_event("job.removed", "diff/2");
    daemon.await_event("job.watching", "diff/3");
    let list = home.client(&["list", "--json"]).expect(0).stdout;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    let mut jobs: Vec<&str> = list.iter().filter_map(|j| j["job"].as_str()).collect();
    jobs.sort_unstable();
    assert_eq!(jobs, ["diff/1", "diff/3"]);
    let (status, printed) = daemon.end("TERM");
    assert_eq!(status, Some(0));
    let errors = printed.iter().filter(|line| line["level"] == "ERROR");
    assert_eq!(errors.count(), 0, "{printed:#?}");
}
