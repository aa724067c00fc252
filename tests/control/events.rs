//! Events as they are told through the socket.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;

use forgewatch::control::protocol::{Answer, Request, Since};
use serde_json::Value;

use crate::fixture::{Client, Stage, impostor, program, wall};

fn request(since: Since, follow: bool) -> String {
    let request = Request::Events { since, follow };
    serde_json::to_string(&request).unwrap() + "\n"
}

/// The numbers of the events in lines of the socket's, and whether they say that there are no more.
fn numbers(heard: &str) -> (Vec<u64>, bool) {
    let mut done = false;
    let mut numbers = Vec::new();
    let mut before = 0;
    for line in heard.lines() {
        assert!(!done, "something follows the end: {line}");
        match serde_json::from_str(line).unwrap() {
            Answer::Event { offset, record } => {
                assert!(offset > before, "{heard}");
                before = offset;
                let record: Value = serde_json::from_str(record.get()).unwrap();
                numbers.push(record["seq"].as_u64().unwrap());
            }
            Answer::Done => done = true,
            other => panic!("{other:?}"),
        }
    }
    (numbers, done)
}

fn told(stage: &Stage, since: Since) -> Vec<u64> {
    let (numbers, done) = numbers(&stage.connect().send(request(since, false)).hear());
    assert!(done, "broke off behind {numbers:?}");
    numbers
}

#[test]
fn all_that_happened_is_told_in_order_from_where_the_client_wants() {
    let stage = Stage::obedient();
    assert!(told(&stage, Since::Beginning).is_empty());
    stage.commit(1..=600);
    let all: Vec<u64> = (1..=600).collect();
    assert_eq!(told(&stage, Since::Beginning), all);
    assert_eq!(told(&stage, Since::After(0)), all);
    assert_eq!(told(&stage, Since::At(wall(597))), [597, 598, 599, 600]);
    assert!(told(&stage, Since::At(wall(601))).is_empty());
    assert!(told(&stage, Since::Now).is_empty());

    let mut client = stage.connect().send(request(Since::At(wall(599)), false));
    let Answer::Event { offset, .. } = serde_json::from_str(&client.line()).unwrap() else {
        panic!("no event");
    };
    assert_eq!(told(&stage, Since::After(offset)), [600]);
    assert!(!stage.was_asked(), "the daemon was asked");
}

#[test]
fn a_page_that_is_just_full_is_not_the_end() {
    let stage = Stage::obedient();
    stage.commit(1..=256);
    assert_eq!(told(&stage, Since::Beginning).len(), 256);
}

#[test]
fn who_follows_is_told_what_comes_until_the_daemon_ends() {
    let mut stage = Stage::obedient();
    stage.commit(1..=3);
    let mut client = stage.connect().send(request(Since::At(wall(3)), true));
    assert_eq!(numbers(&client.line()).0, [3]);
    stage.commit(4..=4);
    assert_eq!(numbers(&client.line()).0, [4]);
    stage.commit(5..=700);
    for number in 5..=700 {
        assert_eq!(numbers(&client.line()).0, [number]);
    }
    stage.stop();
    assert_eq!(client.hear(), "\"stopped\"\n");
}

#[test]
fn readers_of_events_leave_room_for_those_who_want_one_thing() {
    let stage = Stage::obedient();
    // More than a connection holds that nobody reads.
    stage.commit(1..=3_000);
    for follow in [true, false] {
        let read = |stage: &Stage| {
            let mut client = stage.connect().send(request(Since::Beginning, follow));
            let line = client.line();
            (client, line)
        };
        let readers: Vec<(Client, String)> = (0..12).map(|_| read(&stage)).collect();
        assert!(readers.iter().all(|(_, line)| line.contains("\"event\"")));
        for follow in [true, false] {
            let heard = stage.connect().send(request(Since::Now, follow)).hear();
            assert!(heard.contains("as many read events"), "{heard}");
        }
        stage.run(&["events"]).expect(1);
        stage.run(&["reload"]).expect(0);
        // One that leaves makes room for another, as soon as that is noticed.
        drop(readers);
        while read(&stage).1.contains("refused") {}
    }
}

/// What the program printed, the offsets taken out.
fn records(stdout: &str) -> Vec<Value> {
    let records = stdout.lines().map(|line| {
        assert!(line.starts_with("{\"offset\":"), "{line}");
        serde_json::from_str(line).unwrap()
    });
    records.collect()
}

#[test]
fn the_command_prints_a_record_a_line_with_its_offset_first() {
    let stage = Stage::obedient();
    stage.commit(1..=300);
    let done = stage.run(&["events"]).expect(0);
    let all = records(&done.stdout);
    assert_eq!(all.len(), 300);
    let seqs = |records: &[Value]| -> Vec<u64> {
        records.iter().map(|r| r["seq"].as_u64().unwrap()).collect()
    };
    let offset = all[297]["offset"].as_u64().unwrap().to_string();
    let rest = stage.run(&["events", "--since", &offset]).expect(0);
    assert_eq!(seqs(&records(&rest.stdout)), [299, 300]);
    // The events lie in what is the future to the program.
    let rest = stage.run(&["events", "--since", "1h"]).expect(0);
    assert_eq!(seqs(&records(&rest.stdout)).len(), 300);
}

#[test]
fn following_ends_with_the_daemon_and_says_where_to_go_on() {
    let mut stage = Stage::obedient();
    stage.commit(1..=1);
    let follow = stage.program(&["events", "--follow", "--since", "0"]);
    let follow = follow.follow();
    let first = follow.line().unwrap();
    stage.commit(2..=2);
    let second = follow.line().unwrap();
    let offset = records(&second)[0]["offset"].as_u64().unwrap();
    assert!(records(&first)[0]["offset"].as_u64().unwrap() < offset);
    stage.stop();
    let (status, stderr) = follow.wait();
    assert_eq!(status.code(), Some(1), "{stderr}");
    let said =
        format!("error: the daemon has stopped; to go on where it ended: --since {offset}\n");
    assert_eq!(stderr, said);
}

#[test]
fn one_who_follows_is_told_a_stop_from_a_connection_that_is_lost() {
    let mut stage = Stage::obedient();
    stage.commit(1..=1);
    let follow = stage.program(&["events", "--follow", "--since", "0"]);
    let follow = follow.follow();
    follow.line().unwrap();
    stage.stop();
    let (_, stderr) = follow.wait();
    assert!(stderr.contains("the daemon has stopped"), "{stderr}");

    let folder = tempfile::tempdir().unwrap();
    let impostor = impostor(&folder.path().join("s"), vec![String::new()]);
    let done = program(folder.path(), &["events", "--follow", "--socket", "s"]).run();
    assert_eq!(
        done.expect(1).stderr,
        "error: the connection to the daemon at s (from --socket) was lost\n"
    );
    impostor.join().unwrap();
}

#[test]
fn an_offset_that_no_event_has_reached_is_refused_at_once() {
    let stage = Stage::obedient();
    for last in [0, 300] {
        if last > 0 {
            stage.commit(1..=last);
        }
        let beyond = (last + 1).to_string();
        for args in [&["events"][..], &["events", "--follow"]] {
            let done = stage.run(&[args, &["--since", &beyond]].concat());
            let said = format!("no event has the offset {beyond}: the last offset is {last};");
            assert!(done.stderr.contains(&said), "{done:?}");
            done.expect(1);
        }
        assert!(told(&stage, Since::After(last.into())).is_empty());
    }
}

#[test]
fn following_begins_with_what_comes() {
    let stage = Stage::obedient();
    stage.commit(1..=3);
    let follow = stage.program(&["events", "--follow"]).follow();
    // It listens by the time that one of the events that keep coming arrives.
    let mut number = 3;
    let first = loop {
        number += 1;
        stage.commit(number..=number);
        if let Some(line) = follow.line_by_now() {
            break line;
        }
    };
    assert!(records(&first)[0]["seq"].as_u64().unwrap() > 3, "{first}");
}

#[test]
fn a_stream_that_is_cut_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let event =
        |offset| format!("{{\"event\":{{\"offset\":{offset},\"record\":{{\"seq\":1}}}}}}\n");
    let socket = folder.path().join("s");
    let impostor = impostor(
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
    let asked: Vec<Request> = impostor
        .join()
        .unwrap()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let wanted = [Since::Beginning, Since::After(5), Since::After(8)];
    let follow = false;
    assert_eq!(asked, wanted.map(|since| Request::Events { since, follow }));
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let stage = Stage::obedient();
    stage.commit(1..=2_000);
    for args in [&["events"][..], &["events", "--follow", "--since", "0"]] {
        let mut child = stage.program(args).start();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn ctrl_c_ends_following_as_it_ends_any_program() {
    let stage = Stage::obedient();
    stage.commit(1..=1);
    let follow = stage.program(&["events", "--follow", "--since", "0"]);
    let follow = follow.follow();
    follow.line().unwrap();
    follow.interrupt();
    let (status, stderr) = follow.wait();
    // What a shell calls 130.
    assert_eq!(status.signal(), Some(2), "{stderr}");
    assert!(stderr.is_empty(), "{stderr}");
}
