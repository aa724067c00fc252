//! Proxies from the environment: not used for a loopback address, and never given the credentials.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use crate::fixture::{CliCommand, Sandbox, SimFixture, TIMEOUT, job};

const VARIABLES: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

fn with_proxy(program: CliCommand, proxy: &TcpListener) -> CliCommand {
    let url = format!("http://{}", proxy.local_addr().unwrap());
    VARIABLES
        .iter()
        .fold(program, |program, name| program.env(name, &url))
}

#[test]
fn a_loopback_address_is_accessed_without_a_proxy() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let fixture = SimFixture::new(&job("diff/1", ""));
    let port = fixture.server.addr().port();
    for host in ["127.0.0.1", "localhost"] {
        let base = format!("http://{host}:{port}");
        with_proxy(fixture.sandbox.watch_at(&base, &["diff/1"]), &proxy)
            .run()
            .expect(0);
    }
    assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_remote_host_is_accessed_through_the_proxy_which_never_gets_the_credentials() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let sandbox = Sandbox::new();
    let watch = sandbox.watch_at(
        "https://clanforge.invalid",
        &["--give-up-after", "100ms", "diff/1"],
    );
    let watch = with_proxy(watch, &proxy);
    let request = first_request(proxy);
    let end = watch.run().expect(6).end_of("diff/1");
    assert_eq!(end["event_type"], "job.gave_up");
    let request = request.join().unwrap().to_lowercase();
    assert!(
        request.starts_with("connect clanforge.invalid:443 http/1.1\r\n"),
        "{request}"
    );
    assert!(!request.contains("authorization"), "{request}");
    assert!(!request.contains("c2ltonnpbq"), "{request}");
}

#[test]
fn no_proxy_is_respected() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let sandbox = Sandbox::new();
    let watch = sandbox.watch_at(
        "https://clanforge.invalid",
        &["--give-up-after", "100ms", "diff/1"],
    );
    let watch = with_proxy(watch, &proxy).env("NO_PROXY", "clanforge.invalid");
    let end = watch.run().expect(6).end_of("diff/1");
    assert_eq!(end["error_kind"], "dns");
    assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Rejects the first request and returns it; closes all later connections.
fn first_request(proxy: TcpListener) -> JoinHandle<String> {
    thread::spawn(move || {
        let (mut stream, _) = proxy.accept().unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let (mut request, mut chunk) = (Vec::new(), [0; 1024]);
        while !request.ends_with(b"\r\n\r\n") {
            let n = stream.read(&mut chunk).unwrap();
            assert!(n > 0, "incomplete request");
            request.extend_from_slice(&chunk[..n]);
        }
        let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        String::from_utf8(request).unwrap()
    })
}
