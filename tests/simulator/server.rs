//! Many clients, invalid requests, and the server's API.

use std::time::Duration;

use forgewatch_sim::Script;

use crate::client::RawClient;
use crate::{TIMEOUT, diff, job};

#[test]
fn invalid_requests_are_rejected_and_the_server_continues() {
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
        let (bytes, _) = RawClient::new(&server).until_closed(request);
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:.30?}: {text}"
        );
    }
    assert_eq!(RawClient::new(&server).status("diff/1").status, 200);
}

#[test]
fn a_hundred_concurrent_clients_are_all_served() {
    let server = diff("");
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let mut client = RawClient::new(&server);
                for _ in 0..5 {
                    assert_eq!(client.status("diff/1").status, 200);
                }
            });
        }
    });
    assert!(server.wait_for_requests(Some(job("diff/1")), 500, TIMEOUT));
    assert_eq!(server.log().len(), 500);
}

#[test]
fn the_server_runs_on_its_own_thread_or_inside_the_caller_s_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        drop(diff("")); // returns once its thread has ended
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let client = std::thread::spawn(move || {
            let status = RawClient::at(addr).status("update/77").status;
            stop.send(()).unwrap();
            status
        });
        let until = async { stopped.await.unwrap() };
        forgewatch_sim::serve(listener, Script::example().unwrap(), 1.0, until)
            .await
            .unwrap();
        assert_eq!(client.join().unwrap(), 200);
    });
}

#[test]
fn requests_are_logged_and_can_be_waited_for() {
    let server = diff("");
    assert!(!server.wait_for_requests(None, 1, Duration::from_millis(1)));
    std::thread::scope(|scope| {
        scope.spawn(|| RawClient::new(&server).status("diff/1"));
        assert!(server.wait_for_requests(Some(job("diff/1")), 1, TIMEOUT));
    });
    let request = &server.log()[0];
    assert_eq!(
        (request.job, request.n, request.method.as_str()),
        (Some(job("diff/1")), 1, "GET")
    );
    assert_eq!(
        request.target,
        "/cfp/v1/imagediff/1/status?accountserviceid=5678"
    );
    assert_eq!(request.header("HOST"), Some("x"));
    assert_eq!(server.ended_at(job("diff/1")), None);
}
