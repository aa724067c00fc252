//! What clients can send.

use forgewatch::control::protocol::{Answer, Request};

use crate::fixture::{Client, Stage};

/// A stage that must not be asked anything.
fn untouched() -> Stage {
    Stage::answering(|request| panic!("was asked {request:?}"))
}

#[test]
fn a_request_is_answered_by_the_daemon() {
    let stage = Stage::answering(|_| Answer::Jobs(Vec::new()));
    let heard = stage.connect().send("{\"list\":{\"all\":true}}\n").hear();
    assert_eq!(heard, "{\"jobs\":[]}\n");
    assert_eq!(stage.asked(), Request::List { all: true });
}

#[test]
fn what_is_no_request_is_refused_and_never_reaches_the_daemon() {
    let stage = untouched();
    let deep = "[".repeat(60_000);
    for (sent, why) in [
        ("\n", "does not understand"),
        ("garbage\n", "does not understand"),
        ("GET / HTTP/1.1\r\n\r\n", "does not understand"),
        ("\u{0}\u{1}\n", "does not understand"),
        ("{\"format\":\"disk\"}\n", "unknown variant `format`"),
        ("{\"add\":{\"jobs\":[\"diff/x\"]}}\n", "is not a job ID"),
        (&format!("{deep}\n"), "does not understand"),
    ] {
        let heard = stage.connect().send(sent).hear();
        assert!(heard.starts_with("{\"refused\":"), "{sent:.40}: {heard}");
        assert!(heard.contains(why), "{sent:.40}: {heard}");
    }
    let heard = stage.connect().send(b"\xff\xfe\n").hear();
    assert!(heard.contains("does not understand"), "{heard}");
}

#[test]
fn half_a_request_is_none() {
    let stage = untouched();
    for sent in ["", "{\"remove\":{\"jobs\":[\"diff/1", "\"reload\""] {
        let heard = stage.connect().send(sent).shut().hear();
        assert!(heard.contains("the request broke off"), "{heard}");
    }
}

#[test]
fn a_request_is_at_most_64_kib_long() {
    let stage = Stage::obedient();
    let padded = |length: usize| {
        let blanks = " ".repeat(length - "\"hooks\"\n".len());
        format!("{blanks}\"hooks\"\n")
    };
    let longest = stage.connect().send(padded(64 * 1024)).hear();
    assert_eq!(longest, "\"done\"\n");
    stage.asked();
    for long in [padded(64 * 1024 + 1), "x".repeat(1 << 20)] {
        let heard = stage.connect().send(long).hear();
        assert!(heard.contains("longer than 64 KiB"), "{heard}");
    }
    assert!(!stage.was_asked());
}

#[test]
fn what_comes_behind_a_request_is_not_heard() {
    let stage = Stage::obedient();
    let heard = stage.connect().send("\"hooks\"\n\"reload\"\n").hear();
    assert_eq!(heard, "\"done\"\n");
    assert_eq!(stage.asked(), Request::Hooks);
    assert!(!stage.was_asked());
}

#[test]
fn a_client_that_leaves_at_any_time_harms_nobody() {
    let stage = Stage::obedient();
    for _ in 0..40 {
        drop(stage.connect());
        drop(stage.connect().send("\"rel"));
        drop(stage.connect().send("\"hooks\"\n"));
        drop(
            stage
                .connect()
                .send("{\"events\":{\"since\":\"now\",\"follow\":true}}\n"),
        );
    }
    assert_eq!(stage.connect().send("\"reload\"\n").hear(), "\"done\"\n");
}

#[test]
fn any_number_of_silent_clients_keep_one_who_speaks_waiting_but_not_out() {
    let stage = Stage::obedient();
    let silent: Vec<Client> = (0..40).map(|_| stage.connect()).collect();
    let heard = stage.connect().send("\"reload\"\n").hear();
    assert_eq!(heard, "\"done\"\n");
    // The first of them made room.
    for client in silent.into_iter().take(16) {
        let heard = client.hear();
        assert!(heard.contains("no whole request came"), "{heard}");
    }
}
