//! Large response bodies, and redirects to other hosts.

use std::fs;
use std::net::TcpListener;

use crate::fixture::{SimFixture, faulty, job};

/// The peak resident memory of a process, in bytes.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

#[test]
fn a_gzip_bomb_is_too_large_and_never_in_memory() {
    let fault = "[[jobs.faults]]\nrequests = '2'\ngzip_bomb = '1GiB'\n[[jobs.faults]]\nrequests = '3-'\ndelay = '1h'";
    let fixture = SimFixture::new(&job("diff/1", &format!("duration = '1h'\n{fault}")));
    let config = "[api]\nmax_body = '200MiB'\n[schedule]\nunreachable_after = '10ms'\n";
    let config = fixture.sandbox.file("f.toml", config);
    let watch = fixture
        .watch(&["--config", config.to_str().unwrap(), "diff/1"])
        .start();
    fixture.await_requests("diff/1", 3);
    let peak = peak(watch.pid());
    watch.signal("TERM");
    let done = watch.wait().expect(143);
    let events = done.events_of("diff/1");
    let unreachable = events
        .iter()
        .find(|event| event["event_type"] == "job.unreachable");
    assert_eq!(unreachable.unwrap()["error_kind"], "too_large", "{done:?}");
    assert!(peak < 64 << 20, "{peak} bytes");
}

#[test]
fn a_body_above_max_body_is_too_large_compressed_or_not() {
    for gzip in [true, false] {
        let script = format!(
            "gzip = {gzip}\n{}",
            job("diff/1", "files = { modified = 100000 }")
        );
        let fixture = SimFixture::new(&script);
        let config = fixture.sandbox.file("f.toml", "[api]\nmax_body = '1MiB'\n");
        let args = [
            "--config",
            config.to_str().unwrap(),
            "--give-up-after",
            "300ms",
            "diff/1",
        ];
        let end = fixture.watch(&args).run().expect(6).end_of("diff/1");
        assert_eq!(end["error_kind"], "too_large");
    }
}

#[test]
fn a_redirect_is_not_followed_and_its_target_gets_no_connection() {
    let target_listener = TcpListener::bind("127.0.0.1:0").unwrap();
    target_listener.set_nonblocking(true).unwrap();
    for status in [301, 302, 303, 307, 308] {
        let target = format!(
            "http://{}/cfp/v1/imagediff/1/status",
            target_listener.local_addr().unwrap()
        );
        let fault = format!("redirect = '{target}'\nstatus = {status}");
        let fixture = SimFixture::new(&faulty("diff/1", "1-", &fault));
        let end = fixture
            .watch(&["--give-up-after", "200ms", "diff/1"])
            .run()
            .expect(6)
            .end_of("diff/1");
        assert_eq!(end["error_kind"], "redirect");
        let error = end["error_message"].as_str().unwrap();
        assert!(
            error.contains("not followed") && error.contains("base_url"),
            "{error}"
        );
    }
    let accepted = target_listener
        .accept()
        .map(|_| ())
        .map_err(|error| error.kind());
    assert_eq!(accepted, Err(std::io::ErrorKind::WouldBlock));
}
