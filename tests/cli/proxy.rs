//! Proxies from the environment: not used for a loopback address, and never given the credentials.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use crate::fixture::{CliCommand, CliOutput, Sandbox, SimFixture, TIMEOUT, job, read_head};
use crate::tls::Authority;

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

/// A watch through a proxy that closes or rejects everything, until it gives up.
fn watch_with(variables: &[(&str, &str)]) -> CliOutput {
    let sandbox = Sandbox::new();
    let watch = sandbox.watch_at(
        "https://clanforge.invalid",
        &["--give-up-after", "100ms", "diff/1"],
    );
    let watch = watch.env("FORGEWATCH_LOG", "trace");
    let with = |watch: CliCommand, (name, value): &(&str, &str)| watch.env(name, value);
    variables.iter().fold(watch, with).run()
}

#[test]
fn a_variable_that_names_no_proxy_is_an_error_that_hides_its_value() {
    for value in [
        "'http://127.0.0.1:3128'",
        "http://user:can#ary@127.0.0.1:3128",
        "http://user:can/ary@127.0.0.1:3128",
        "http://user:1?canary@127.0.0.1:3128",
        "ftp://canary.invalid:3128",
        "socks5://canary.invalid:1080",
        "http://canary.invalid:99999",
        "http://canary invalid:3128",
    ] {
        for name in ["HTTPS_PROXY", "all_proxy"] {
            let done = watch_with(&[(name, value)]).expect(2);
            assert!(
                done.stderr.contains(&format!("error: {name}: ")),
                "{done:?}"
            );
            assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
            for part in ["canary", "127.0.0.1", "user"] {
                assert!(!done.stderr.contains(&format!("{part}:")), "{done:?}");
                assert!(!done.stderr.contains(&format!("{part}@")), "{done:?}");
            }
        }
        let excepted = [("HTTPS_PROXY", value), ("no_proxy", ".invalid")];
        watch_with(&excepted).expect(6);
    }
}

#[test]
fn a_proxy_variable_also_matters_for_webhooks() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "key",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr\n",
    );
    let hook = "[[hooks]]\nname = 'w'\non = ['job.*']\nwebhook = 'https://a.invalid'\nsecret_files = ['key']\n";
    let config = sandbox.file("f.toml", hook);
    let args = ["--config", config.to_str().unwrap(), "diff/1"];
    let watch = sandbox.watch_at("http://127.0.0.1:1", &args);
    let done = watch.env("ALL_PROXY", "ftp://canary").run().expect(2);
    assert!(done.stderr.contains("error: ALL_PROXY: "), "{done:?}");
    assert!(!done.stderr.contains("canary"), "{done:?}");
}

#[test]
fn an_error_at_the_proxy_names_the_proxy_and_its_status() {
    for status in [
        "403 Forbidden",
        "407 Proxy Authentication Required",
        "502 Bad Gateway",
        "503 Busy",
    ] {
        let (port, _) =
            proxy(move |_| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into());
        let value = format!(" http://us%65r:can%61ry@127.0.0.1:{port} \r");
        let done = watch_with(&[("https_proxy", &value)]).expect(6);
        let end = done.end_of("diff/1");
        assert_eq!(end["error_kind"], "connect", "{end}");
        assert_eq!(end.get("http_status"), None, "{end}");
        let message = end["error_message"].as_str().unwrap();
        let name = format!("proxy http://127.0.0.1:{port} (https_proxy): ");
        assert!(message.starts_with(&name), "{message}");
        assert!(
            message.contains(&format!("HTTP {}", &status[..3])),
            "{message}"
        );
        let printed = format!("{}{}", done.stdout, done.stderr);
        assert!(
            !printed.contains("canary") && !printed.contains("can%61ry"),
            "{printed}"
        );
    }
    let unused = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let refusing = format!("http://{unused}");
    for (value, kind) in [
        (&*refusing, "connect"),
        ("http://proxy.invalid:3128", "dns"),
    ] {
        let end = watch_with(&[("ALL_PROXY", value)])
            .expect(6)
            .end_of("diff/1");
        assert_eq!(end["error_kind"], kind, "{end}");
        let message = end["error_message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("proxy {value} (ALL_PROXY): ")),
            "{message}"
        );
    }
}

#[test]
fn a_response_that_is_not_http_is_an_error_of_the_proxy() {
    for response in ["", "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 xyz\r\n\r\n"] {
        let (port, _) = proxy(move |_| response.into());
        let value = format!("127.0.0.1:{port}");
        let end = watch_with(&[("HTTPS_PROXY", &value)])
            .expect(6)
            .end_of("diff/1");
        let message = end["error_message"].as_str().unwrap();
        assert!(
            message.contains(&format!("proxy http://{value} (HTTPS_PROXY)")),
            "{message}"
        );
    }
}

#[test]
fn the_tunnel_gets_the_decoded_password_and_carries_the_requests() {
    let authority = Authority::new();
    for (name, expected) in [("clanforge.invalid", 0), ("other.invalid", 6)] {
        let server = authority.server(name, |_| {}, &["h2", "http/1.1"]);
        let target = server.addr;
        let (port, heads) = proxy(move |_| Answer::Tunnel(target));
        let value = format!("http://user:p%23%2F%3F%40w@127.0.0.1:{port}/");
        let done = server
            .watch(&Sandbox::new(), "clanforge.invalid", Some(&authority))
            .env("HTTPS_PROXY", &value)
            .run()
            .expect(expected);
        let head = heads.recv_timeout(TIMEOUT).unwrap();
        assert!(
            // The case of a header's name has no meaning.
            head.replace("proxy-authorization", "Proxy-Authorization")
                .contains("Proxy-Authorization: Basic dXNlcjpwIy8/QHc=\r\n"),
            "{head}"
        );
        if expected == 6 {
            let end = done.end_of("diff/1");
            assert_eq!(end["error_kind"], "tls");
            let message = end["error_message"].as_str().unwrap();
            assert!(
                message.contains("through the proxy http://127.0.0.1:"),
                "{message}"
            );
        }
    }
}

#[test]
fn check_says_which_proxy_applies() {
    let sandbox = Sandbox::new();
    let config = sandbox.file("f.toml", "[api]\naccount_service_id = 1\n");
    let check = || sandbox.program(&["check", "--config", config.to_str().unwrap()]);
    let proxied = check()
        .env("HTTPS_PROXY", "user:canary@proxy.example:3128")
        .run()
        .expect(0);
    let line = "proxy:         http://proxy.example:3128 (HTTPS_PROXY)\n";
    assert!(proxied.stdout.contains(line), "{proxied:?}");
    assert!(!proxied.stdout.contains("canary"));
    let direct = check().run().expect(0);
    assert!(
        direct.stdout.contains("proxy:         none\n"),
        "{direct:?}"
    );
}

/// How a proxy answers CONNECT.
enum Answer {
    Bytes(String),
    Tunnel(SocketAddr),
}

impl From<String> for Answer {
    fn from(bytes: String) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&str> for Answer {
    fn from(bytes: &str) -> Self {
        Self::Bytes(bytes.to_owned())
    }
}

/// A proxy; returns its port and the heads of requests.
fn proxy(answer: impl Fn(&str) -> Answer + Send + 'static) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, heads) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = read_head(&mut stream);
            match answer(&head) {
                Answer::Bytes(bytes) => {
                    let _ = stream.write_all(bytes.as_bytes());
                }
                Answer::Tunnel(target) => {
                    let server = TcpStream::connect(target).unwrap();
                    let _ =
                        stream.write_all(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n");
                    for (mut from, mut to) in [
                        (stream.try_clone().unwrap(), server.try_clone().unwrap()),
                        (server, stream),
                    ] {
                        thread::spawn(move || {
                            let _ = std::io::copy(&mut from, &mut to);
                            let _ = to.shutdown(Shutdown::Write);
                        });
                    }
                }
            }
            let _ = sender.send(head);
        }
    });
    (port, heads)
}

/// Rejects the first request and returns it; closes all later connections.
fn first_request(proxy: TcpListener) -> JoinHandle<String> {
    thread::spawn(move || {
        let (mut stream, _) = proxy.accept().unwrap();
        let request = read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        request
    })
}
