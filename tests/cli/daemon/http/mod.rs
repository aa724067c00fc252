//! The HTTP API of the real daemon, on real sockets.

mod config;
mod documents;
mod events;
mod hostile;
mod metrics;
mod monitoring;
mod reads;
mod remote;
mod writes;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{DaemonFixture, DaemonProcess, listed};
use crate::fixture::{LONG, TIMEOUT, job};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A daemon with an HTTP API, and its simulator.
pub(crate) struct HttpFixture {
    pub(crate) daemon: DaemonFixture,
    pub(crate) port: u16,
}

impl HttpFixture {
    /// `http` is appended to the section `[http]`, which has a listener and a token.
    pub(crate) fn new(script: &str, http: &str) -> Self {
        let fixture = Self {
            daemon: DaemonFixture::new(script, ""),
            port: free_port(),
        };
        fixture.token_file("token", TOKEN);
        fixture.configure(&format!("token_files = ['token']\n{http}\n"), "");
        fixture
    }

    /// A daemon that has reported that the API is down.
    pub(crate) fn with_outage() -> (Self, DaemonProcess) {
        let faults = "[[faults]]\nrequests = '1-'\nstatus = 500\n";
        let fixture = Self::new(&(job("diff/1", LONG) + faults), "");
        fixture.configure("", &listed("diff/1"));
        let mut daemon = fixture.start();
        daemon.await_outage();
        (fixture, daemon)
    }

    /// `toml` follows the section `[http]`.
    pub(crate) fn configure(&self, http: &str, toml: &str) {
        let listen = format!("[http]\nlisten = '127.0.0.1:{}'\n", self.port);
        self.daemon.configure(&format!("{listen}{http}\n{toml}"));
    }

    pub(crate) fn token_file(&self, name: &str, content: &str) {
        self.daemon.sim.sandbox.file(name, content);
        fs::set_permissions(self.daemon.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn start(&self) -> DaemonProcess {
        self.daemon.start()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// Sends bytes and reads until the daemon closes the connection.
    pub(crate) fn exchange(&self, bytes: impl AsRef<[u8]>) -> HttpResponse {
        let mut stream = self.connect();
        // The daemon may respond and close before it has read everything.
        let _ = stream.write_all(bytes.as_ref());
        HttpResponse::read_to_end(&mut stream)
    }

    /// Sends a request with more header lines, each with its line end.
    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        headers: &str,
        body: &str,
    ) -> HttpResponse {
        let port = self.port;
        let length = body.len();
        let content = match body {
            "" => String::new(),
            _ => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
        };
        self.exchange(format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{content}{headers}\r\n{body}"
        ))
    }

    pub(crate) fn get(&self, target: &str) -> HttpResponse {
        self.request("GET", target, "", "")
    }

    /// Sends a request with a wrong parameter; returns the problem.
    #[track_caller]
    pub(crate) fn expect_wrong_parameter(
        &self,
        target: &str,
        headers: &str,
        parameter: &str,
    ) -> Value {
        let response = self.request("GET", target, headers, "").expect(400);
        assert_eq!(
            response.header("content-type"),
            Some("application/problem+json")
        );
        let problem = response.json();
        assert_eq!(problem["parameter"], parameter, "{problem}");
        problem
    }

    /// Sends a request with the token.
    pub(crate) fn send(&self, method: &str, target: &str, body: &str) -> HttpResponse {
        self.request(method, target, &bearer(TOKEN), body)
    }
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl HttpResponse {
    fn read_to_end(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // What came before a reset counts.
        let _ = stream.read_to_end(&mut bytes);
        Self::parse(&String::from_utf8(bytes).unwrap())
    }

    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_default(),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines();
        lines
            .filter_map(|line| line.split_once(": "))
            .find_map(|(found, value)| (found == name).then_some(value))
    }
}
