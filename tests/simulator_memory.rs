//! The simulator streams what it makes; alone in its process, so that its memory can be measured.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::net::TcpStream;

use forgewatch_sim::{Script, Server};

#[test]
fn many_files_pass_through_a_small_process() {
    let job = "[[jobs]]\njob = \"diff/1\"\nduration = \"1ms\"\nfiles = { modified = 300000 }\n";
    let server = Server::start(Script::parse(job).unwrap()).unwrap();
    let mut length = ask(&server);
    let before = peak();
    while length < 15_000_000 {
        length = ask(&server); // until the job has ended and lists its files
    }
    let grown = peak().saturating_sub(before);
    assert!(grown < 4 << 20, "grew by {grown} bytes");
}

/// How long the answer is; none of it is kept.
fn ask(server: &Server) -> u64 {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let head = "GET /cfp/v1/imagediff/1/status?accountserviceid=5678 HTTP/1.1\r\nHost: x\r\n\
                Authorization: Basic c2ltOnNpbQ==\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
}

/// The peak of this process's resident memory, in bytes.
fn peak() -> u64 {
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
