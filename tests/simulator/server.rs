//! Many clients, bad ones, and the server from inside the process.

use std::time::Duration;

use forgewatch_sim::Script;

use crate::client::Client;
use crate::{PATIENCE, diff, job};

#[test]
fn requests_that_are_none_are_refused_and_the_server_goes_on() {
    let server = diff("");
    let oversized = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    for (request, status) in [
        ("\u{16}\u{3}\u{1} hello TLS\r\n\r\n", "400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
        (&oversized, "431"),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "411",
        ),
        ("GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n", "400"),
    ] {
        let (bytes, _) = Client::new(&server).until_closed(request);
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:.30?}: {text}"
        );
    }
    assert_eq!(Client::new(&server).status("diff/1").status, 200);
}

#[test]
fn a_hundred_clients_at_once_are_all_answered() {
    let server = diff("");
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let mut client = Client::new(&server);
                for _ in 0..5 {
                    assert_eq!(client.status("diff/1").status, 200);
                }
            });
        }
    });
    assert!(server.wait_for_hits(Some(job("diff/1")), 500, PATIENCE));
    assert_eq!(server.log().len(), 500);
}

#[test]
fn it_starts_and_stops_inside_a_runtime_and_serves_inside_the_caller_s() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        drop(diff("")); // returns once its thread has ended
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let asking = std::thread::spawn(move || {
            let status = Client::at(addr).status("update/77").status;
            stop.send(()).unwrap();
            status
        });
        let until = async { stopped.await.unwrap() };
        forgewatch_sim::serve(listener, Script::example().unwrap(), 1.0, until)
            .await
            .unwrap();
        assert_eq!(asking.join().unwrap(), 200);
    });
}

#[test]
fn the_log_has_what_was_asked_and_can_be_waited_on() {
    let server = diff("");
    assert!(!server.wait_for_hits(None, 1, Duration::from_millis(1)));
    std::thread::scope(|scope| {
        scope.spawn(|| Client::new(&server).status("diff/1"));
        assert!(server.wait_for_hits(Some(job("diff/1")), 1, PATIENCE));
    });
    let hit = &server.log()[0];
    assert_eq!(
        (hit.job, hit.n, hit.method.as_str()),
        (Some(job("diff/1")), 1, "GET")
    );
    assert_eq!(
        hit.target,
        "/cfp/v1/imagediff/1/status?accountserviceid=5678"
    );
    assert_eq!(hit.header("HOST"), Some("x"));
    assert_eq!(server.ended_at(job("diff/1")), None);
}
