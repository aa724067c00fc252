//! Reading: health, readiness, status, jobs.

use super::{HttpFixture, HttpResponse};
use crate::fixture::{LONG, job};

#[test]
fn health_and_readiness_say_why() {
    let fixture = HttpFixture::new("", "");
    let daemon = fixture.start();
    let healthy = fixture.get("/-/healthy").expect(200);
    assert_eq!(healthy.body, r#"{"healthy":true}"#);
    let ready = fixture.get("/-/ready").expect(200);
    assert_eq!(
        ready.body,
        r#"{"ready":true,"checks":{"configuration":{"ok":true},"store":{"ok":true},"api":{"ok":true}}}"#
    );
    fixture.configure("listen = 5", "");
    fixture.daemon.client(&["reload"]).expect(1);
    let unready = fixture.get("/-/ready").expect(503).json();
    assert_eq!(unready["checks"]["configuration"]["ok"], false);
    let reason = unready["checks"]["configuration"]["reason"]
        .as_str()
        .unwrap();
    assert!(reason.starts_with("not reloaded: "), "{reason}");
    fixture.get("/-/healthy").expect(200);
    drop(daemon);
}

#[test]
fn a_daemon_whose_api_is_down_is_healthy_and_not_ready() {
    let (fixture, _daemon) = HttpFixture::with_outage();
    let unready = fixture.get("/-/ready").expect(503).json();
    assert_eq!(unready["ready"], false);
    let api = &unready["checks"]["api"];
    let reason = api["reason"].as_str().unwrap();
    assert!(reason.starts_with("the API is unavailable: "), "{reason}");
    assert_eq!(unready["checks"]["store"]["ok"], true);
    fixture.get("/-/healthy").expect(200);
}

#[test]
fn the_status_describes_the_daemon() {
    let fixture = HttpFixture::new(&job("diff/1", LONG), "");
    fixture.configure("", "[[jobs]]\njob = 'diff/1'");
    let mut daemon = fixture.start();
    daemon.await_event("job.watching", "diff/1");
    let status = fixture.get("/api/v1/status").expect(200).json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["api"]["state"], "available");
    assert!(status["api"]["last_success_at_ms"].is_i64(), "{status}");
    assert_eq!(status["jobs"], serde_json::json!({ "running": 1 }));
    assert_eq!(
        status["deliveries"],
        serde_json::json!({ "pending": 0, "running": 0, "failed": 0 })
    );
    assert_eq!(status.get("last_reload"), None);
    fixture.daemon.client(&["reload"]).expect(0);
    let status = fixture.get("/api/v1/status").expect(200).json();
    assert!(status["last_reload"]["at_ms"].is_i64(), "{status}");
}

fn names(response: &HttpResponse) -> Vec<String> {
    let list = response.json();
    let jobs = list["jobs"].as_array().unwrap().iter();
    let mut jobs: Vec<String> = jobs
        .map(|job| job["job"].as_str().unwrap().to_owned())
        .collect();
    jobs.sort();
    jobs
}

#[test]
fn jobs_are_selected_by_label_state_and_page() {
    let script = job("diff/1", LONG) + &job("diff/2", "") + &job("update/3", LONG);
    let fixture = HttpFixture::new(&script, "");
    fixture.configure(
        "",
        "[[jobs]]\njob = 'diff/1'\nlabels = { stage = 'live', build = 'a b&c' }\n\
         [[jobs]]\njob = 'diff/2'\n[[jobs]]\njob = 'update/3'\nlabels = { stage = 'live' }\n",
    );
    let mut daemon = fixture.start();
    daemon.await_event("job.completed", "diff/2");
    for job in ["diff/1", "update/3"] {
        daemon.await_event("job.watching", job);
    }
    for (query, expected) in [
        ("", &["diff/1", "update/3"][..]),
        ("?all=true", &["diff/1", "diff/2", "update/3"]),
        ("?label=stage=live", &["diff/1", "update/3"]),
        ("?label=stage%3Dlive&label=build=a%20b%26c", &["diff/1"]),
        ("?label=stage=test", &[]),
        ("?state=running", &["diff/1", "update/3"]),
        ("?state=completed", &["diff/2"]),
        (
            "?state=completed&state=running",
            &["diff/1", "diff/2", "update/3"],
        ),
        ("?job=diff/1&job=diff/2", &["diff/1"]),
        ("?job=diff%2F1&job=diff/2&all=true", &["diff/1", "diff/2"]),
    ] {
        let response = fixture.get(&format!("/api/v1/jobs{query}")).expect(200);
        assert_eq!(names(&response), expected, "{query}");
    }
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let page = fixture
            .get(&format!("/api/v1/jobs?all=true&limit=1{after}"))
            .expect(200);
        all.extend(names(&page));
        match page.json()["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    all.sort();
    assert_eq!(all, ["diff/1", "diff/2", "update/3"]);
}

#[test]
fn a_wrong_parameter_is_named_with_what_is_expected() {
    let fixture = HttpFixture::new("", "");
    let _daemon = fixture.start();
    for (query, parameter, expected) in [
        ("limit=0", "limit", "from 1 to 500"),
        ("limit=501", "limit", "from 1 to 500"),
        ("limit=x", "limit", "from 1 to 500"),
        ("limit=1&limit=2", "limit", "use it once"),
        ("state=runing", "state", "use one of starting"),
        ("label=stage", "label", "NAME=VALUE"),
        ("label=a%20b=1", "label", "invalid label name"),
        ("all=yes", "all", "true or false"),
        ("job=diff", "job", "use diff/1234"),
        ("labels=a=b", "labels", "did you mean label?"),
        ("%00", "\0", "use one of job, label"),
    ] {
        let target = format!("/api/v1/jobs?{query}");
        let problem = fixture.expect_wrong_parameter(&target, "", parameter);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{detail}");
    }
    for query in ["after=x", "after=x&job=diff/1"] {
        let response = fixture.get(&format!("/api/v1/jobs?{query}")).expect(400);
        let expected = "invalid place to continue a list";
        assert!(response.body.contains(expected), "{response:?}");
    }
}

#[test]
fn unknown_paths_and_methods_say_what_exists() {
    let fixture = HttpFixture::new("", "");
    let _daemon = fixture.start();
    for path in [
        "/api/v1/job",
        "/api/v1/jobs/",
        "/api/v2/jobs",
        "/api",
        "//",
        "/api/v1/jobs/diff",
        "/%2e%2e/etc",
    ] {
        let problem = fixture.get(path).expect(404).json();
        let paths = problem["paths"].as_array().unwrap();
        assert!(paths.contains(&"/api/v1/jobs".into()), "{problem}");
    }
    for method in ["PUT", "PATCH", "TRACE", "OPTIONS", "X"] {
        let response = fixture.send(method, "/api/v1/status", "").expect(405);
        assert_eq!(response.header("allow"), Some("get, head"), "{method}");
        assert_eq!(response.header("access-control-allow-origin"), None);
    }
}

#[test]
fn every_response_forbids_caching_guessing_and_framing() {
    let fixture = HttpFixture::new("", "");
    let _daemon = fixture.start();
    for path in ["/-/healthy", "/api/v1/jobs", "/nowhere", "/api/v1/jobs?x"] {
        let response = fixture.request("GET", path, "Origin: http://evil.example\r\n", "");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(response.header(name), Some(value), "{path}");
        }
        assert!(!response.head.contains("access-control"), "{response:?}");
    }
    let head = fixture.request("HEAD", "/api/v1/jobs", "", "").expect(200);
    assert_eq!(
        (head.header("content-length"), &*head.body),
        (Some("11"), "")
    );
}
