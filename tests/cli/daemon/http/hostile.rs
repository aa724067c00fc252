//! Requests that are malformed, forged, smuggled, slow or too large.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::events::Stream;
use super::{HttpFixture, HttpResponse, TOKEN, bearer};
use crate::fixture::job;

#[test]
fn targets_and_hosts_of_other_servers_are_rejected() {
    let fixture = HttpFixture::new("", "");
    let _daemon = fixture.start();
    let port = fixture.port;
    let own = format!("Host: localhost:{port}\r\n");
    for (line, headers, status) in [
        ("GET http://evil.example/-/healthy HTTP/1.1", &*own, 400),
        ("GET HTTPS://evil.example HTTP/1.1", &own, 400),
        (
            &format!("GET http://localhost:{port}/-/healthy HTTP/1.1"),
            &own,
            400,
        ),
        (&format!("CONNECT localhost:{port} HTTP/1.1"), &own, 400),
        ("OPTIONS * HTTP/1.1", &own, 400),
        ("GET /-/healthy HTTP/1.1", "", 400),
        ("GET /-/healthy HTTP/1.0", "", 400),
        ("GET /-/healthy HTTP/1.1", "Host:\r\n", 400),
        ("GET /-/healthy HTTP/1.1", &format!("{own}{own}"), 400),
        (
            "GET /-/healthy HTTP/1.1",
            &format!("{own}host: evil.example\r\n"),
            400,
        ),
        ("GET /-/healthy HTTP/1.1", "Host: localhost:x\r\n", 400),
        ("GET /-/healthy HTTP/1.1", "Host: a@localhost\r\n", 400),
        ("GET /-/healthy HTTP/1.1", "Host: \u{e4}\r\n", 400),
        ("GET /-/healthy HTTP/1.1", "Host: evil.example\r\n", 421),
        (
            "GET /-/healthy HTTP/1.1",
            &format!("Host: evil.example:{port}\r\n"),
            421,
        ),
        (
            "GET /-/healthy HTTP/1.1",
            &format!("Host: localhost:{}\r\n", port ^ 1),
            421,
        ),
        ("GET /-/healthy HTTP/1.0", &own, 200),
    ] {
        let text = format!("{line}\r\n{headers}\r\n");
        let response = match status {
            // Kept open otherwise.
            200 => fixture.exchange(text.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")),
            _ => fixture.exchange(text),
        };
        assert_eq!(response.status, status, "{line} {headers}: {response:?}");
        if status != 200 {
            assert_eq!(
                response.header("content-type"),
                Some("application/problem+json")
            );
        }
    }
}

#[test]
fn a_request_inside_another_is_never_carried_out() {
    let fixture = HttpFixture::new("", "");
    let _daemon = fixture.start();
    let port = fixture.port;
    let inner = format!(
        "POST /api/v1/reload HTTP/1.1\r\nHost: localhost:{port}\r\n{}Content-Length: 0\r\n\r\n",
        bearer(TOKEN)
    );
    let length = inner.len() + 5;
    for lengths in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        "Transfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(),
        "Transfer-Encoding: identity, chunked\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
        format!("Content-Length: 5\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: 5, {length}\r\n"),
        "Content-Length: +5\r\n".to_owned(),
        "Content-Length: -1\r\n".to_owned(),
        "Content-Length: 0x5\r\n".to_owned(),
        "Content-Length: 99999999999999999999\r\n".to_owned(),
        "X: y\r\n Content-Length: 5\r\n".to_owned(),
    ] {
        let mut stream = fixture.connect();
        let outer = format!(
            "GET /api/v1/status HTTP/1.1\r\nHost: localhost:{port}\r\n{lengths}\r\n0\r\n\r\n{inner}"
        );
        let _ = stream.write_all(outer.as_bytes());
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{lengths}: {text}");
        let status = HttpResponse::parse(&text).status;
        assert!([400, 411].contains(&status), "{lengths}: {text}");
    }
    let status = fixture.get("/api/v1/status").expect(200).json();
    assert_eq!(status.get("last_reload"), None);
}

#[test]
fn heads_that_are_too_large_are_rejected() {
    let fixture = HttpFixture::new("", "");
    let _daemon = fixture.start();
    let many = "X: y\r\n".repeat(100);
    let long = format!("X: {}\r\n", "y".repeat(20_000));
    for headers in [&many, &long] {
        assert_eq!(
            fixture.request("GET", "/-/healthy", headers, "").status,
            431
        );
    }
    let target = format!("/{}", "a".repeat(20_000));
    let status = fixture.get(&target).status;
    assert!([414, 431].contains(&status), "{status}");
    for garbage in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ] {
        let response = fixture.exchange([garbage, b"\r\n\r\n"].concat());
        assert_eq!(response.status, 400, "{garbage:?}: {response:?}");
    }
    fixture.get("/-/healthy").expect(200);
}

#[test]
fn a_request_that_is_not_sent_ends_its_connection() {
    let fixture = HttpFixture::new("", "");
    let _daemon = fixture.start();
    let port = fixture.port;
    let mut half = fixture.connect();
    half.write_all(format!("GET /-/healthy HTTP/1.1\r\nHost: localhost:{port}\r\n").as_bytes())
        .unwrap();
    let mut silent = fixture.connect();
    let body = fixture.exchange(format!(
        "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost:{port}\r\n{}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        bearer(TOKEN)
    ));
    assert_eq!(body.status, 408, "{body:?}");
    for stream in [&mut half, &mut silent] {
        let mut text = Vec::new();
        // Ends before the test's own time limit, which would be an error.
        stream.read_to_end(&mut text).unwrap();
    }
}

#[test]
fn a_thousand_idle_connections_keep_no_one_waiting_and_end_no_stream() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = Some(maximum.map_or(4096, |maximum| maximum.min(4096)));
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let fixture = HttpFixture::new(&job("diff/1", "duration = '1s'"), "");
    fixture.configure("", "[[jobs]]\njob = 'diff/1'\n");
    let mut daemon = fixture.start();
    let mut events = Stream::open(&fixture, "?since=0", "");
    let mut idle: Vec<TcpStream> = (0..1000).map(|_| fixture.connect()).collect();
    for (at, stream) in idle.iter_mut().enumerate() {
        if at % 2 == 0 {
            // The daemon may have closed it.
            let _ = stream.write_all(b"GET /-/healthy HTTP/1.1\r\nX");
        }
    }
    fixture.get("/-/healthy").expect(200);
    daemon.await_event("job.completed", "diff/1");
    fixture.daemon.client(&["list"]).expect(0);
    drop(idle);
    fixture.get("/-/ready").expect(200);
    fixture.daemon.client(&["reload"]).expect(0);
    let mut rest = std::iter::from_fn(|| events.next());
    assert!(rest.any(|message| message.data["event_type"] == "watch.reloaded"));
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let fixture = HttpFixture::new("", "");
    let _daemon = fixture.start();
    let port = fixture.port;
    let one = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{more}\r\n")
    };
    let both =
        one("/-/healthy", "") + &one("/nowhere", "") + &one("/-/ready", "Connection: close\r\n");
    let mut stream = fixture.connect();
    stream.write_all(both.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let statuses = text.split("HTTP/1.1 ").skip(1);
    let statuses: Vec<&str> = statuses.filter_map(|rest| rest.get(..3)).collect();
    assert_eq!(statuses, ["200", "404", "200"], "{text}");
}
