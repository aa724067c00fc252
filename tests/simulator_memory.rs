//! The simulator streams large bodies. A test binary of its own, so that its memory can be measured.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::net::TcpStream;

use forgewatch_sim::{Script, Server};

#[test]
fn a_response_with_many_files_needs_little_memory() {
    let job = "[[jobs]]\njob = \"diff/1\"\nduration = \"1ms\"\nfiles = { modified = 300000 }\n";
    let server = Server::start(Script::parse(job).unwrap()).unwrap();
    let mut length = response_length(&server);
    let before = peak_memory();
    while length < 15_000_000 {
        length = response_length(&server); // until the job has ended and lists its files
    }
    let grown = peak_memory().saturating_sub(before);
    assert!(grown < 4 << 20, "grew by {grown} bytes");
}

/// Requests the status and discards it.
fn response_length(server: &Server) -> u64 {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let head = "GET /cfp/v1/imagediff/1/status?accountserviceid=5678 HTTP/1.1\r\nHost: x\r\n\
                Authorization: Basic c2ltOnNpbQ==\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
}

/// The peak of this process's resident memory, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    1024 * line
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
}
