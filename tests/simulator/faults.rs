//! Faults, as a client sees them.

use std::io::ErrorKind;
use std::time::Duration;

use crate::client::{RawClient, get};
use crate::diff;

#[test]
fn status_faults_affect_exactly_the_named_requests() {
    let server = diff(
        "[[jobs.faults]]\nrequests = \"2\"\nstatus = 503\nretry_after = \"7\"\nbody = \"busy\"\n\
         [[jobs.faults]]\nrequests = \"3-4\"\nredirect = \"http://elsewhere.example/\"\n\
         [[jobs.faults]]\nrequests = \"6-\"\nenvelope = { message = \"image locked by diffid: 218595\" }\n",
    );
    let mut client = RawClient::new(&server);
    let statuses: Vec<u16> = (0..5).map(|_| client.status("diff/1").status).collect();
    assert_eq!(statuses, [200, 503, 302, 302, 200]);
    let envelope = client.status("diff/1");
    assert_eq!(envelope.status, 200);
    assert_eq!(
        envelope.json()["error_message"],
        "image locked by diffid: 218595"
    );
    assert!(envelope.json().get("jobstateid").is_none());
    let log: Vec<String> = server
        .log()
        .into_iter()
        .map(|request| request.served)
        .collect();
    assert_eq!(log, ["200", "503", "302", "302", "200", "200"]);
}

#[test]
fn a_response_can_be_truncated_at_any_byte() {
    for after in [0, 1, 17, 90] {
        let server = diff(&format!(
            "[[jobs.faults]]\nrequests = \"1-\"\ntruncate_after = {after}\n"
        ));
        let (bytes, error) = RawClient::new(&server)
            .until_closed(&get("/cfp/v1/imagediff/1/status?accountserviceid=5678"));
        assert_eq!(bytes.len(), after);
        assert_eq!(error, None, "closed, not reset");
    }
}

#[test]
fn a_connection_can_be_reset_before_or_within_a_response() {
    for after in [0, 150] {
        let server = diff(&format!(
            "[[jobs.faults]]\nrequests = \"1\"\nreset_after = {after}\n"
        ));
        let (bytes, error) = RawClient::new(&server)
            .until_closed(&get("/cfp/v1/imagediff/1/status?accountserviceid=5678"));
        assert!(bytes.len() <= after);
        assert_eq!(error, Some(ErrorKind::ConnectionReset));
    }
}

#[test]
fn slow_and_delayed_responses_arrive_complete() {
    let server = diff(
        "[[jobs.faults]]\nrequests = \"1\"\nslow = { bytes = 50, every = \"1ms\" }\n\
         [[jobs.faults]]\nrequests = \"1\"\ndelay = \"20ms\"\n",
    );
    let before = std::time::Instant::now();
    let response = RawClient::new(&server).status("diff/1");
    assert!(
        before.elapsed() >= Duration::from_millis(25),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(response.json()["jobstateid"], 4);
    assert_eq!(server.log()[0].served, "200, delayed, slow");
}

#[test]
fn bad_responses_do_not_contain_a_valid_status() {
    let server = diff(
        "[[jobs.faults]]\nrequests = \"1\"\nbad_response = \"html\"\n[[jobs.faults]]\nrequests = \"2\"\nbad_response = \"invalid_utf8\"\n\
         [[jobs.faults]]\nrequests = \"3\"\nbad_response = \"deep_json\"\n[[jobs.faults]]\nrequests = \"4\"\nbad_response = \"empty\"\n\
         [[jobs.faults]]\nrequests = \"5\"\nbad_response = \"huge_header\"\n[[jobs.faults]]\nrequests = \"6\"\nbody = \"{\"\n",
    );
    let mut client = RawClient::new(&server);
    let html = client.status("diff/1");
    assert_eq!(
        (html.status, html.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(html.body.starts_with(b"<!DOCTYPE html>"));
    assert!(String::from_utf8(client.status("diff/1").body).is_err());
    assert!(serde_json::from_slice::<serde_json::Value>(&client.status("diff/1").body).is_err());
    assert!(client.status("diff/1").body.is_empty());
    assert!(client.status("diff/1").header("x-padding").unwrap().len() >= 1 << 20);
    assert_eq!(client.status("diff/1").body, b"{");
}

#[test]
fn a_gzip_bomb_is_small_on_the_wire() {
    let server = diff("[[jobs.faults]]\nrequests = \"1\"\ngzip_bomb = \"100MiB\"\n");
    let response = RawClient::new(&server).status("diff/1");
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert!(response.body.len() < 1 << 20, "{}", response.body.len());
    let mut decoder = flate2::read::GzDecoder::new(response.body.as_slice());
    assert_eq!(
        std::io::copy(&mut decoder, &mut std::io::sink()).unwrap(),
        100 << 20
    );
}
