//! Events as a stream.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::HttpFixture;
use crate::daemon::{DaemonProcess, types};
use crate::fixture::job;

/// A message of the stream.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Message {
    event: String,
    id: String,
    pub(super) data: Value,
}

pub(super) struct Stream(BufReader<TcpStream>);

impl Stream {
    pub(super) fn open(fixture: &HttpFixture, query: &str, headers: &str) -> Self {
        let mut stream = fixture.connect();
        let port = fixture.port;
        let request = format!(
            "GET /api/v1/events{query} HTTP/1.1\r\nHost: localhost:{port}\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut stream = Self(BufReader::new(stream));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.0.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.contains("content-type: text/event-stream\r\n"),
            "{head}"
        );
        stream
    }

    /// The next message with data; None at the end.
    pub(super) fn next(&mut self) -> Option<Message> {
        let mut message = Message::default();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // Lines of the chunked coding end otherwise.
            let Some(line) = line.strip_suffix('\n').filter(|line| !line.ends_with('\r')) else {
                if line == "0\r\n" {
                    return None;
                }
                continue;
            };
            match line.split_once(": ") {
                Some(("event", event)) => event.clone_into(&mut message.event),
                Some(("id", id)) => id.clone_into(&mut message.id),
                Some(("data", data)) => message.data = serde_json::from_str(data).unwrap(),
                _ if message.data != Value::Null => return Some(message),
                _ => message = Message::default(),
            }
        }
    }

    /// The messages up to `caught_up`.
    fn stored(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.next())
            .take_while(|message| message.event != "caught_up")
            .collect()
    }
}

fn with_ended_jobs() -> (HttpFixture, DaemonProcess) {
    let fixture = HttpFixture::new(&(job("diff/1", "") + &job("update/2", "")), "");
    fixture.configure(
        "",
        "[[jobs]]\njob = 'diff/1'\nlabels = { stage = 'live' }\n[[jobs]]\njob = 'update/2'\n",
    );
    let mut daemon = fixture.start();
    daemon.await_event("job.completed", "diff/1");
    daemon.await_event("job.completed", "update/2");
    (fixture, daemon)
}

#[test]
fn stored_and_new_events_come_with_their_offsets() {
    let (fixture, daemon) = with_ended_jobs();
    let mut stream = Stream::open(&fixture, "?since=0", "");
    let stored = stream.stored();
    let records: Vec<Value> = stored.iter().map(|message| message.data.clone()).collect();
    assert_eq!(types(&records)[0], "watch.started");
    assert!(types(&records).contains(&"job.completed"));
    for message in &stored {
        assert_eq!(message.event, "");
        assert_eq!(message.id, message.data["offset"].to_string());
    }
    let offsets: Vec<u64> = stored.iter().map(|m| m.id.parse().unwrap()).collect();
    assert!(offsets.is_sorted());

    fixture.daemon.client(&["reload"]).expect(0);
    let new = stream.next().unwrap();
    assert_eq!(new.data["event_type"], "watch.reloaded");

    // What a browser sends after a lost connection; the query is that of the first request.
    let header = format!("Last-Event-ID: {}\r\n", stored[1].id);
    let mut resumed = Stream::open(&fixture, "?since=0", &header);
    let rest = resumed.stored();
    assert_eq!(rest[..rest.len() - 1], stored[2..]);
    assert_eq!(rest.last(), Some(&new));

    let (status, _) = daemon.stop("TERM");
    assert_eq!(status, Some(0));
    let last = std::iter::from_fn(|| stream.next()).last().unwrap();
    assert_eq!(last.event, "stopped");
}

#[test]
fn events_are_filtered_and_a_stream_can_end() {
    let (fixture, _daemon) = with_ended_jobs();
    let selected = |query: &str| -> Vec<String> {
        let mut stream = Stream::open(&fixture, &format!("?follow=false{query}"), "");
        let stored = stream.stored();
        assert_eq!(stream.next(), None, "the stream ends");
        let name = |m: &Message| format!("{} {}", m.data["event_type"], m.data["job"]);
        stored.iter().map(|m| name(m).replace('"', "")).collect()
    };
    assert!(selected("").len() > 4);
    assert_eq!(
        selected("&type=job.completed&job=diff/1&job=diff/9"),
        ["job.completed diff/1"]
    );
    assert_eq!(
        selected("&type=job.completed&label=stage=live"),
        ["job.completed diff/1"]
    );
    assert_eq!(
        selected("&since=2000-01-01T00:00:00Z&type=watch.started").len(),
        1
    );
    assert_eq!(selected("&since=1h&type=watch.started").len(), 1);
    assert_eq!(selected("&since=2999-01-01T00:00:00Z"), [""; 0]);
}

#[test]
fn an_offset_that_was_never_reached_is_rejected() {
    let (fixture, _daemon) = with_ended_jobs();
    for (query, header) in [
        ("?since=18446744073709551615", ""),
        ("?since=99999", ""),
        ("?since=0", "Last-Event-ID: 99999\r\n"),
    ] {
        let target = format!("/api/v1/events{query}");
        let problem = fixture
            .request("GET", &target, header, "")
            .expect(416)
            .json();
        let offset = problem["offset"].as_u64().unwrap();
        let last = problem["last"].as_u64().unwrap();
        assert!(last > 0 && last < offset, "{problem}");
    }
    for (query, header, parameter) in [
        ("?since=x", "", "since"),
        ("?since=-1", "", "since"),
        ("?since=", "", "since"),
        ("?follow=1", "", "follow"),
        ("?type=job.faild", "", "type"),
        ("?job=1234", "", "job"),
        ("?since=0", "Last-Event-ID: x\r\n", "Last-Event-ID"),
        ("?since=", "Last-Event-ID: 1\r\n", "since"),
    ] {
        let target = format!("/api/v1/events{query}");
        fixture.expect_wrong_parameter(&target, header, parameter);
    }
}
