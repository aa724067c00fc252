//! Clients that do not wait for the response.

use std::io::Write;
use std::os::unix::net::UnixStream;

use super::{DaemonFixture, listed};
use crate::fixture::job;

#[test]
fn requests_are_carried_out_though_the_clients_disconnect_before_the_response() {
    let script: String = ["diff/1", "diff/2", "diff/3"]
        .iter()
        .map(|name| job(name, "duration = '10m'"))
        .collect();
    let fixture = DaemonFixture::new(&script, &listed("diff/1"));
    let mut daemon = fixture.start();
    fixture.client(&["add", "diff/2"]).expect(0);
    for request in [
        r#"{"list":{"all":true}}"#,
        r#"{"show":{"job":"diff/1"}}"#,
        r#""list_deliveries""#,
        r#""reload""#,
        r#"{"retry_delivery":{"delivery":"x/y"}}"#,
        r#"{"events":{"since":"beginning","follow":true}}"#,
        r#"{"add":{"jobs":["diff/3"]}}"#,
        r#"{"remove":{"jobs":["diff/2"]}}"#,
    ] {
        // More than the daemon serves at once.
        for _ in 0..20 {
            let mut client = UnixStream::connect(fixture.socket()).unwrap();
            writeln!(client, r#"{{"protocol":1,"request":{request}}}"#).unwrap();
        }
    }
    daemon.await_event("job.removed", "diff/2");
    daemon.await_event("job.watching", "diff/3");
    let list = fixture.client(&["list", "--json"]).expect(0).stdout;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    let mut jobs: Vec<&str> = list.iter().filter_map(|j| j["job"].as_str()).collect();
    jobs.sort_unstable();
    assert_eq!(jobs, ["diff/1", "diff/3"]);
    let (status, printed) = daemon.stop("TERM");
    assert_eq!(status, Some(0));
    let errors = printed.iter().filter(|line| line["level"] == "ERROR");
    assert_eq!(errors.count(), 0, "{printed:#?}");
}
