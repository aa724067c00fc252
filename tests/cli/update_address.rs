//! The two addresses of an update's status: its ID in the path, or in the query.

use crate::fixture::{CliOutput, SimFixture, job};

/// A server of update/77 and update/78 that serves one address only.
fn fixture(served: &str) -> SimFixture {
    let jobs = job("update/77", "") + &job("update/78", "appears_after = '100ms'\n");
    SimFixture::new(&format!("update_address = '{served}'\n{jobs}"))
}

fn watch(fixture: &SimFixture, configured: &str, jobs: &[&str]) -> CliOutput {
    let text = format!("[api]\nupdate_address = '{configured}'\n");
    let config = fixture.sandbox.file("f.toml", text);
    let args = [
        "--config",
        config.to_str().unwrap(),
        "--not-found-grace",
        "200ms",
    ];
    fixture.watch(&[&args[..], jobs].concat()).run()
}

/// The addresses of the requests for a job, in order: p is the path, q the query.
fn addresses(fixture: &SimFixture, job: &str) -> String {
    let requests = fixture.requests_for(job);
    let of = |target: &str| {
        if target.contains("/status?updateid=") {
            'q'
        } else {
            'p'
        }
    };
    requests.iter().map(|request| of(&request.target)).collect()
}

#[test]
fn the_address_that_finds_an_update_is_kept() {
    let by_path = fixture("path");
    watch(&by_path, "auto", &["update/77"]).expect(0);
    let used = addresses(&by_path, "update/77");
    assert_eq!(used, "p".repeat(used.len()));
    let by_query = fixture("query");
    watch(&by_query, "auto", &["update/77"]).expect(0);
    let used = addresses(&by_query, "update/77");
    assert_eq!(used, format!("p{}", "q".repeat(used.len() - 1)));
}

#[test]
fn an_update_that_appears_late_is_found_at_either_address() {
    for served in ["path", "query"] {
        watch(&fixture(served), "auto", &["update/78"]).expect(0);
    }
}

#[test]
fn an_unknown_update_is_not_found_at_both_addresses() {
    let unknown = fixture("query");
    watch(&unknown, "auto", &["update/99"]).expect(5);
    let used = addresses(&unknown, "update/99");
    assert_eq!(used, "pq".repeat(used.len() / 2));
}

#[test]
fn a_configured_address_is_the_only_one() {
    for (configured, letter) in [("path", "p"), ("query", "q")] {
        let served = fixture(configured);
        watch(&served, configured, &["update/77"]).expect(0);
        let used = addresses(&served, "update/77");
        assert_eq!(used, letter.repeat(used.len()));
        let other = fixture(if configured == "path" {
            "query"
        } else {
            "path"
        });
        watch(&other, configured, &["update/77"]).expect(5);
        let used = addresses(&other, "update/77");
        assert_eq!(used, letter.repeat(used.len()));
    }
}
