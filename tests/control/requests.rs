//! Requests of all kinds, valid and invalid.

use forgewatch::control::protocol::{EventFilter, JobPage, ListRequest, Request, Response, Since};

use crate::fixture::{Client, TestDaemon, frame};

fn list() -> Request {
    Request::List(ListRequest {
        all: true,
        ..ListRequest::default()
    })
}

/// A daemon that must not get a request.
fn without_requests() -> TestDaemon {
    TestDaemon::responding(|request| panic!("unexpected request {request:?}"))
}

#[test]
fn the_daemon_responds_to_requests() {
    let daemon = TestDaemon::responding(|_| Response::Jobs(JobPage::default()));
    let response = daemon.connect().send(frame(&list())).read_all();
    assert_eq!(response, "{\"jobs\":{\"jobs\":[]}}\n");
    assert_eq!(daemon.next_request(), list());
}

#[test]
fn invalid_requests_are_rejected_and_do_not_reach_the_daemon() {
    let daemon = without_requests();
    let deep = "[".repeat(60_000);
    for (sent, why) in [
        ("\n", "invalid request"),
        ("garbage\n", "invalid request"),
        ("GET / HTTP/1.1\r\n\r\n", "invalid request"),
        ("\u{0}\u{1}\n", "invalid request"),
        ("\"reload\"\n", "invalid request"),
        (
            "{\"protocol\":1,\"request\":{\"format\":\"disk\"}}\n",
            "unknown variant `format`",
        ),
        (
            "{\"protocol\":1,\"request\":{\"add\":{\"jobs\":[\"diff/x\"]}}}\n",
            "invalid job ID",
        ),
        (&format!("{deep}\n"), "invalid request"),
    ] {
        let response = daemon.connect().send(sent).read_all();
        assert!(
            response.starts_with("{\"error\":"),
            "{sent:.40}: {response}"
        );
        assert!(response.contains(why), "{sent:.40}: {response}");
    }
    let response = daemon.connect().send(b"\xff\xfe\n").read_all();
    assert!(response.contains("invalid request"), "{response}");
}

#[test]
fn incomplete_requests_are_rejected() {
    let daemon = without_requests();
    for sent in ["", "{\"remove\":{\"jobs\":[\"diff/1", "\"reload\""] {
        let response = daemon.connect().send(sent).shut().read_all();
        assert!(response.contains("incomplete request"), "{response}");
    }
}

#[test]
fn a_request_is_at_most_64_kib_long() {
    let daemon = TestDaemon::accepting();
    let reload = frame(&Request::Reload);
    let padded = |length: usize| " ".repeat(length - reload.len()) + &reload;
    let longest = daemon.connect().send(padded(64 * 1024)).read_all();
    assert_eq!(longest, "\"done\"\n");
    daemon.next_request();
    for long in [padded(64 * 1024 + 1), "x".repeat(1 << 20)] {
        let response = daemon.connect().send(long).read_all();
        assert!(response.contains("longer than 64 KiB"), "{response}");
    }
    assert!(!daemon.has_request());
}

#[test]
fn input_after_a_request_is_ignored() {
    let daemon = TestDaemon::accepting();
    let response = daemon
        .connect()
        .send(frame(&Request::ListDeliveries) + &frame(&Request::Reload))
        .read_all();
    assert_eq!(response, "\"done\"\n");
    assert_eq!(daemon.next_request(), Request::ListDeliveries);
    assert!(!daemon.has_request());
}

#[test]
fn clients_that_disconnect_at_any_time_do_no_harm() {
    let daemon = TestDaemon::accepting();
    for _ in 0..40 {
        drop(daemon.connect());
        drop(daemon.connect().send("\"rel"));
        drop(daemon.connect().send(frame(&Request::ListDeliveries)));
        let follow = Request::Events {
            since: Since::Now,
            follow: true,
            filter: EventFilter::default(),
        };
        drop(daemon.connect().send(frame(&follow)));
    }
    assert_eq!(
        daemon.connect().send(frame(&Request::Reload)).read_all(),
        "\"done\"\n"
    );
}

#[test]
fn silent_clients_delay_but_do_not_block_others() {
    let daemon = TestDaemon::accepting();
    let silent: Vec<Client> = (0..40).map(|_| daemon.connect()).collect();
    let response = daemon.connect().send(frame(&Request::Reload)).read_all();
    assert_eq!(response, "\"done\"\n");
    // The first of them were disconnected.
    for client in silent.into_iter().take(16) {
        let response = client.read_all();
        assert!(
            response.contains("no complete request received"),
            "{response}"
        );
    }
}
