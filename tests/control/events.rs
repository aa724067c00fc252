//! Streams of events.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;

use forgewatch::control::protocol::{EventFilter, Request, Response, Since, decode_request};
use serde_json::Value;

use crate::fixture::{Client, TestDaemon, fake_daemon, frame, program, wall};

fn request(since: Since, follow: bool) -> String {
    frame(&events(since, follow))
}

fn events(since: Since, follow: bool) -> Request {
    Request::Events {
        since,
        follow,
        filter: EventFilter::default(),
    }
}

/// The numbers of the events in these responses, and whether the stream is complete.
fn numbers(response: &str) -> (Vec<u64>, bool) {
    let mut done = false;
    let mut numbers = Vec::new();
    let mut before = 0;
    for line in response.lines() {
        assert!(!done, "unexpected response after the end: {line}");
        match serde_json::from_str(line).unwrap() {
            Response::Event { offset, record } => {
                assert!(offset > before, "{response}");
                before = offset;
                let record: Value = serde_json::from_str(record.get()).unwrap();
                numbers.push(record["seq"].as_u64().unwrap());
            }
            Response::CaughtUp { .. } => {}
            Response::Done => done = true,
            response => panic!("{response:?}"),
        }
    }
    (numbers, done)
}

fn stream(daemon: &TestDaemon, since: Since) -> Vec<u64> {
    let (numbers, done) = numbers(&daemon.connect().send(request(since, false)).read_all());
    assert!(done, "incomplete stream: {numbers:?}");
    numbers
}

#[test]
fn events_are_streamed_in_order_from_any_position() {
    let daemon = TestDaemon::accepting();
    assert!(stream(&daemon, Since::Beginning).is_empty());
    daemon.commit(1..=600);
    let all: Vec<u64> = (1..=600).collect();
    assert_eq!(stream(&daemon, Since::Beginning), all);
    assert_eq!(stream(&daemon, Since::After(0)), all);
    assert_eq!(stream(&daemon, Since::At(wall(597))), [597, 598, 599, 600]);
    assert!(stream(&daemon, Since::At(wall(601))).is_empty());
    assert!(stream(&daemon, Since::Now).is_empty());

    let mut client = daemon.connect().send(request(Since::At(wall(599)), false));
    let Response::Event { offset, .. } = serde_json::from_str(&client.line()).unwrap() else {
        panic!("no event");
    };
    assert_eq!(stream(&daemon, Since::After(offset)), [600]);
    assert!(
        !daemon.has_request(),
        "events need no request to the daemon"
    );
}

#[test]
fn a_full_page_is_not_the_end_of_the_stream() {
    let daemon = TestDaemon::accepting();
    daemon.commit(1..=256);
    assert_eq!(stream(&daemon, Since::Beginning).len(), 256);
}

#[test]
fn followers_get_new_events_until_the_daemon_stops() {
    let mut daemon = TestDaemon::accepting();
    daemon.commit(1..=3);
    let mut client = daemon.connect().send(request(Since::At(wall(3)), true));
    assert_eq!(numbers(&client.line()).0, [3]);
    let caught_up = client.line();
    assert!(caught_up.starts_with("{\"caught_up\":"), "{caught_up}");
    daemon.commit(4..=4);
    assert_eq!(numbers(&client.line()).0, [4]);
    daemon.commit(5..=700);
    for number in 5..=700 {
        assert_eq!(numbers(&client.line()).0, [number]);
    }
    daemon.stop();
    assert_eq!(client.read_all(), "\"stopped\"\n");
}

#[test]
fn event_streams_leave_connections_for_other_requests() {
    let daemon = TestDaemon::accepting();
    // More than the buffers of a connection that is not read.
    daemon.commit(1..=3_000);
    let open = |since, follow| {
        let mut client = daemon.connect().send(request(since, follow));
        let line = client.line();
        (client, line)
    };
    let mut streams: Vec<(Client, String)> = (1..480).map(|_| open(Since::Now, true)).collect();
    assert!(streams.iter().all(|(_, line)| line.contains("caught_up")));
    // A slow reader takes as long as a follower, so it counts.
    for follow in [true, false] {
        let slow = open(Since::Beginning, follow);
        assert!(slow.1.contains("\"event\""), "{}", slow.1);
        for follow in [true, false] {
            let response = daemon
                .connect()
                .send(request(Since::Now, follow))
                .read_all();
            assert!(
                response.contains("too many clients are reading events"),
                "{response}"
            );
        }
        daemon.run(&["events"]).expect(1);
        daemon.run(&["reload"]).expect(0);
        drop(slow);
        // A closed stream frees its place once the server has noticed.
        while open(Since::Now, true).1.contains("unavailable") {}
    }
    streams.clear();
}

/// The records that the program printed.
fn records(stdout: &str) -> Vec<Value> {
    let records = stdout.lines().map(|line| {
        assert!(line.starts_with("{\"offset\":"), "{line}");
        serde_json::from_str(line).unwrap()
    });
    records.collect()
}

#[test]
fn the_command_prints_one_record_per_line_with_its_offset_first() {
    let daemon = TestDaemon::accepting();
    daemon.commit(1..=300);
    let done = daemon.run(&["events"]).expect(0);
    let all = records(&done.stdout);
    assert_eq!(all.len(), 300);
    let seqs = |records: &[Value]| -> Vec<u64> {
        records.iter().map(|r| r["seq"].as_u64().unwrap()).collect()
    };
    let offset = all[297]["offset"].as_u64().unwrap().to_string();
    let rest = daemon.run(&["events", "--since", &offset]).expect(0);
    assert_eq!(seqs(&records(&rest.stdout)), [299, 300]);
    // The events are in the future.
    let rest = daemon.run(&["events", "--since", "1h"]).expect(0);
    assert_eq!(seqs(&records(&rest.stdout)).len(), 300);
}

#[test]
fn following_ends_with_the_daemon_and_prints_the_last_offset() {
    let mut daemon = TestDaemon::accepting();
    daemon.commit(1..=1);
    let follow = daemon.program(&["events", "--follow", "--since", "0"]);
    let follow = follow.follow();
    let first = follow.line().unwrap();
    daemon.commit(2..=2);
    let second = follow.line().unwrap();
    let offset = records(&second)[0]["offset"].as_u64().unwrap();
    assert!(records(&first)[0]["offset"].as_u64().unwrap() < offset);
    daemon.stop();
    let (status, stderr) = follow.wait();
    assert_eq!(status.code(), Some(1), "{stderr}");
    let output = format!("error: the daemon has stopped; resume with --since {offset}\n");
    assert_eq!(stderr, output);
}

#[test]
fn a_stop_of_the_daemon_differs_from_a_lost_connection() {
    let mut daemon = TestDaemon::accepting();
    daemon.commit(1..=1);
    let follow = daemon.program(&["events", "--follow", "--since", "0"]);
    let follow = follow.follow();
    follow.line().unwrap();
    // A second event: by then it follows.
    daemon.commit(2..=2);
    follow.line().unwrap();
    daemon.stop();
    let (_, stderr) = follow.wait();
    assert!(stderr.contains("the daemon has stopped"), "{stderr}");

    let folder = tempfile::tempdir().unwrap();
    let fake_daemon = fake_daemon(&folder.path().join("s"), vec![String::new()]);
    let done = program(folder.path(), &["events", "--follow", "--socket", "s"]).run();
    assert_eq!(
        done.expect(1).stderr,
        "error: the connection to the daemon at s (from --socket) was lost\n"
    );
    fake_daemon.join().unwrap();
}

#[test]
fn an_offset_beyond_the_last_event_is_rejected() {
    let daemon = TestDaemon::accepting();
    for last in [0, 300] {
        if last > 0 {
            daemon.commit(1..=last);
        }
        let beyond = (last + 1).to_string();
        for args in [&["events"][..], &["events", "--follow"]] {
            let done = daemon.run(&[args, &["--since", &beyond]].concat());
            let message = format!("offset {beyond} is beyond the last event, {last};");
            assert!(done.stderr.contains(&message), "{done:?}");
            done.expect(1);
        }
        assert!(stream(&daemon, Since::After(last.into())).is_empty());
    }
}

#[test]
fn following_begins_with_the_next_event() {
    let daemon = TestDaemon::accepting();
    daemon.commit(1..=3);
    let follow = daemon.program(&["events", "--follow"]).follow();
    // Commits events until the first one arrives, because there is no sign that the program follows.
    let mut number = 3;
    let first = loop {
        number += 1;
        daemon.commit(number..=number);
        if let Some(line) = follow.try_line() {
            break line;
        }
    };
    assert!(records(&first)[0]["seq"].as_u64().unwrap() > 3, "{first}");
}

#[test]
fn an_interrupted_stream_resumes_at_its_offset() {
    let folder = tempfile::tempdir().unwrap();
    let event =
        |offset| format!("{{\"event\":{{\"offset\":{offset},\"record\":{{\"seq\":1}}}}}}\n");
    let socket = folder.path().join("s");
    let fake_daemon = fake_daemon(
        &socket,
        vec![
            event(3) + &event(5),
            // In the middle of a line.
            event(8) + "{\"event\":{\"off",
            event(9) + "\"done\"\n",
        ],
    );
    let done = program(folder.path(), &["events", "--socket", "s"]).run();
    let done = done.expect(0);
    let offsets: Vec<Value> = records(&done.stdout)
        .into_iter()
        .map(|record| record["offset"].clone())
        .collect();
    assert_eq!(offsets, [3, 5, 8, 9]);
    let requests: Vec<Request> = fake_daemon
        .join()
        .unwrap()
        .iter()
        .map(|line| decode_request(line.as_bytes()).unwrap())
        .collect();
    let expected = [Since::Beginning, Since::After(5), Since::After(8)];
    assert_eq!(requests, expected.map(|since| events(since, false)));
}

#[test]
fn a_closed_standard_output_ends_the_program_quietly() {
    let daemon = TestDaemon::accepting();
    daemon.commit(1..=2_000);
    for args in [&["events"][..], &["events", "--follow", "--since", "0"]] {
        let mut child = daemon.program(args).start();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn ctrl_c_ends_following() {
    let daemon = TestDaemon::accepting();
    daemon.commit(1..=1);
    let follow = daemon.program(&["events", "--follow", "--since", "0"]);
    let follow = follow.follow();
    follow.line().unwrap();
    follow.interrupt();
    let (status, stderr) = follow.wait();
    // A shell reports it as 130.
    assert_eq!(status.signal(), Some(2), "{stderr}");
    assert!(stderr.is_empty(), "{stderr}");
}
