//! Changes with a token, and the wait for the end of a job.

use super::{HttpFixture, TOKEN, bearer};
use crate::daemon::hook;
use crate::fixture::{LONG, job};

#[test]
fn jobs_are_added_and_removed() {
    let fixture = HttpFixture::new(&(job("diff/1", LONG) + &job("update/2", "")), "");
    let mut daemon = fixture.start();
    let body = r#"{"jobs":["diff/1","update/2"],"labels":{"build":"8812"}}"#;
    let added = fixture
        .send("POST", "/api/v1/jobs", body)
        .expect(200)
        .json();
    assert_eq!(added["added"][0]["job"], "diff/1");
    assert_eq!(added["added"][0]["outcome"], "started");
    daemon.await_event("job.completed", "update/2");
    let again = fixture
        .send("POST", "/api/v1/jobs", body)
        .expect(200)
        .json();
    assert_eq!(again["added"][0]["outcome"], "already_watched");
    assert_eq!(again["added"][1]["outcome"]["ended"], "completed");
    let shown = fixture.get("/api/v1/jobs/diff/1").expect(200).json();
    assert_eq!(shown["labels"]["build"], "8812");

    let removed = fixture
        .send("DELETE", "/api/v1/jobs/diff/1", "")
        .expect(204);
    assert_eq!(removed.body, "");
    let shown = fixture.get("/api/v1/jobs/diff/1").expect(200).json();
    assert_eq!(shown["outcome"], "removed");
    for unknown in ["diff/1", "diff/7"] {
        let target = format!("/api/v1/jobs/{unknown}");
        let problem = fixture.send("DELETE", &target, "").expect(404).json();
        assert_eq!(problem["detail"], format!("{unknown} is not watched"));
    }
    fixture.get("/api/v1/jobs/diff/7").expect(404);
}

#[test]
fn without_a_valid_token_nothing_changes() {
    let fixture = HttpFixture::new("", "");
    let _daemon = fixture.start();
    let body = r#"{"jobs":["diff/1"]}"#;
    for headers in [
        String::new(),
        bearer(&TOKEN.replace('0', "1")),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Cookie: token={TOKEN}\r\n"),
        "Origin: http://evil.example\r\n".to_owned(),
    ] {
        for (method, target) in [
            ("POST", "/api/v1/jobs"),
            ("DELETE", "/api/v1/jobs/diff/1"),
            ("POST", "/api/v1/reload"),
            ("POST", "/api/v1/deliveries/discard"),
            ("POST", "/api/v1/deliveries/a5-1/chat/retry"),
        ] {
            let response = fixture.request(method, target, &headers, body).expect(401);
            assert!(
                response.header("www-authenticate").is_some(),
                "{response:?}"
            );
        }
    }
    assert_eq!(fixture.get("/api/v1/jobs?all=true").body, r#"{"jobs":[]}"#);
}

#[test]
fn without_token_files_every_change_is_rejected() {
    let fixture = HttpFixture::new("", "");
    fixture.configure("", "");
    let _daemon = fixture.start();
    fixture.get("/api/v1/jobs").expect(200);
    for headers in ["", "Authorization: Bearer \r\n"] {
        let response = fixture
            .request("POST", "/api/v1/reload", headers, "")
            .expect(401);
        assert!(
            response.body.contains("set http.token_files"),
            "{response:?}"
        );
    }
}

#[test]
fn a_body_that_is_wrong_is_rejected_with_what_is_expected() {
    let fixture = HttpFixture::new("", "");
    let _daemon = fixture.start();
    for (body, expected) in [
        ("{", "invalid body: EOF"),
        ("[]", "invalid body: "),
        ("{}", "missing field `jobs`"),
        (r#"{"jobs":[]}"#, "name at least one job"),
        (r#"{"jobs":["diff/0"]}"#, "invalid job ID"),
        (r#"{"jobs":["diff/1"],"label":{}}"#, "unknown field `label`"),
        (
            r#"{"jobs":["diff/1"],"labels":{"a b":""}}"#,
            "invalid label name",
        ),
        (
            r#"{"jobs":["diff/1"],"labels":{"a":"\n"}}"#,
            "invalid value of label a",
        ),
    ] {
        let problem = fixture
            .send("POST", "/api/v1/jobs", body)
            .expect(400)
            .json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{detail}");
    }
    let form = format!(
        "{}Content-Type: text/plain\r\nContent-Length: 2\r\n",
        bearer(TOKEN)
    );
    fixture
        .request("POST", "/api/v1/jobs", &form, "")
        .expect(415);
    let long = format!(
        r#"{{"jobs":["diff/1"],"labels":{{"a":"{}"}}}}"#,
        "x".repeat(70_000)
    );
    let problem = fixture
        .send("POST", "/api/v1/jobs", &long)
        .expect(413)
        .json();
    assert_eq!(
        problem["detail"],
        "the body is longer than 64 KiB; split it"
    );
}

#[test]
fn a_client_waits_for_the_end_of_a_job() {
    let script = job("diff/1", "duration = '400ms'") + &job("diff/2", LONG);
    let fixture = HttpFixture::new(&script, "");
    fixture.configure("", "[[jobs]]\njob = 'diff/1'\n[[jobs]]\njob = 'diff/2'\n");
    let _daemon = fixture.start();
    let ended = fixture
        .get("/api/v1/jobs/diff/1?wait=60s")
        .expect(200)
        .json();
    assert_eq!(ended["outcome"], "completed");
    let events = ended["events"].as_array().unwrap();
    assert_eq!(events.last().unwrap()["event_type"], "job.completed");
    let at_once = fixture
        .get("/api/v1/jobs/diff/1?wait=10m")
        .expect(200)
        .json();
    assert_eq!(at_once["outcome"], "completed");
    let running = fixture
        .get("/api/v1/jobs/diff/2?wait=200ms")
        .expect(200)
        .json();
    assert_eq!(running.get("outcome"), None);
    for (target, parameter) in [
        ("diff/1?wait=11m", "wait"),
        ("diff/1?wait=60", "wait"),
        ("diff/1?wait=1s&wait=1s", "wait"),
        ("diff/1?wiat=1s", "wiat"),
        ("diff/0", "id"),
        ("diff/18446744073709551616", "id"),
        ("diff/+1", "id"),
        ("build/1", "kind"),
    ] {
        fixture.expect_wrong_parameter(&format!("/api/v1/jobs/{target}"), "", parameter);
    }
}

#[test]
fn failed_deliveries_are_listed_retried_and_discarded() {
    let fixture = HttpFixture::new(&(job("diff/1", "") + &job("diff/2", "")), "");
    let script = fixture
        .daemon
        .script("hook", "echo called >> calls; exit 1");
    fixture.configure(
        "token_files = ['token']",
        &hook("chat", "'job.completed'", &script, "retries = 0"),
    );
    let mut daemon = fixture.start();
    for job in ["diff/1", "diff/2"] {
        let body = format!(r#"{{"jobs":["{job}"]}}"#);
        fixture.send("POST", "/api/v1/jobs", &body).expect(200);
        daemon.await_event("hook.failed", "");
    }
    let list = fixture.get("/api/v1/deliveries").expect(200).json();
    assert_eq!(
        (&list["omitted"], &list["deliveries"][0]["state"]),
        (&0.into(), &"failed".into())
    );
    let id = |at: usize| list["deliveries"][at]["id"].as_str().unwrap().to_owned();
    let target = |id: &str, action: &str| format!("/api/v1/deliveries/{id}/{action}");
    fixture
        .send("POST", &target(&id(0), "retry"), "")
        .expect(204);
    daemon.await_event("hook.failed", "");
    let encoded = id(0).replace('/', "%2F");
    fixture
        .send("POST", &target(&encoded, "discard"), "")
        .expect(204);
    fixture
        .send("POST", &target(&encoded, "discard"), "")
        .expect(404);
    fixture
        .send("POST", &target("nothing", "retry"), "")
        .expect(404);
    let discarded = fixture
        .send("POST", "/api/v1/deliveries/discard", "")
        .expect(200);
    assert_eq!(discarded.body, r#"{"discarded":1}"#);
    let list = fixture.get("/api/v1/deliveries").expect(200);
    assert_eq!(list.body, r#"{"deliveries":[],"omitted":0}"#);
    assert_eq!(fixture.daemon.lines("calls").len(), 3);
}

#[test]
fn a_reload_succeeds_or_lists_every_error() {
    let fixture = HttpFixture::new("", "");
    let mut daemon = fixture.start();
    fixture.send("POST", "/api/v1/reload", "").expect(204);
    daemon.await_event("watch.reloaded", "");
    fixture.configure("token_files = ['token']", "[contol]\n[shedule]\n");
    let problem = fixture
        .send("POST", "/api/v1/reload", "")
        .expect(409)
        .json();
    let errors = problem["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{problem}");
}
