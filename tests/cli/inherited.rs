//! What a process inherits from the one that starts it: dispositions and mask of signals, non-blocking streams, limits,
//! `/proc`, and the process number 1.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::process::geteuid;

use crate::daemon::DaemonFixture;
use crate::fixture::{CliCommand, CliProcess, Sandbox, SimFixture, TIMEOUT, job};
use crate::hook_supervisor::skip::skip;

fn hook(sandbox: &Sandbox, script: &str) -> String {
    let path = sandbox.file("hook", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_hook_starts_with_default_dispositions_and_its_end_is_seen() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    let hook = hook(
        &fixture.sandbox,
        "echo run >> runs; grep -E '^Sig(Ign|Blk):' /proc/self/status > signals",
    );
    let watch = fixture
        .watch(&["diff/1", "--on-event", &format!("job.completed={hook}")])
        .behind("trap '' CHLD HUP INT QUIT USR1 USR2 ALRM TSTP WINCH");
    let done = thread::spawn(move || {
        SigSet::all().thread_block().unwrap();
        watch.run()
    });
    done.join().unwrap().expect(0);
    let read = |name| fs::read_to_string(fixture.sandbox.path(name)).unwrap();
    assert_eq!(read("runs"), "run\n");
    // The C library keeps signals 32 and 33 for itself, and rejects other actions for them.
    let masks = read("signals");
    let masks = masks.lines().map(|line| line.split_once(":\t").unwrap().1);
    let masks = masks.map(|mask| u64::from_str_radix(mask, 16).unwrap() & !(0b11 << 31));
    assert_eq!(masks.collect::<Vec<_>>(), [0, 0]);
}

#[test]
fn a_blocked_signal_still_stops_the_watch() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '1h'"));
    let watch = fixture.watch(&["diff/1"]);
    let blocked = thread::spawn(move || {
        SigSet::all().thread_block().unwrap();
        watch.start()
    });
    let watch = blocked.join().unwrap();
    fixture.await_requests("diff/1", 1);
    watch.signal("TERM");
    watch.wait().expect(143);
}

#[test]
fn an_ignored_sigint_stays_ignored() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '1h'"));
    let watch = fixture
        .watch(&["diff/1"])
        .behind("trap '' INT QUIT")
        .start();
    fixture.await_requests("diff/1", 1);
    watch.signal("INT");
    watch.signal("QUIT");
    let requests = fixture.requests_for("diff/1").len();
    fixture.await_requests("diff/1", requests + 3);
    watch.signal("TERM");
    watch.wait().expect(143);
}

#[test]
fn an_ignored_sigint_does_not_stop_the_simulator_either() {
    let sandbox = Sandbox::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let simulator = sandbox
        .program(&["simulate", "--listen", "127.0.0.1:0"])
        .behind("trap '' INT")
        .stdout(writer)
        .start();
    let mut greeting = String::new();
    BufReader::new(reader).read_line(&mut greeting).unwrap();
    let address = greeting.trim().rsplit('/').next().unwrap();
    simulator.signal("INT");
    // A stopped simulator would have closed its socket by the time that it responds.
    for _ in 0..20 {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1"), "{response}");
    }
    simulator.signal("TERM");
    simulator.wait().expect(0);
}

#[test]
fn a_soft_limit_of_open_files_is_raised_and_a_hard_one_is_an_error() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    let args = [
        "diff/1",
        "--state",
        "state",
        "--on-event",
        "job.completed=true",
    ];
    let done = fixture.watch(&args).behind("ulimit -Sn 8").run().expect(0);
    assert_eq!(done.end_of("diff/1")["event_type"], "job.completed");
    for limit in ["5", "8", "63"] {
        let limit = format!("ulimit -n {limit}");
        let done = fixture.watch(&args).behind(&limit).run().expect(2);
        assert!(done.stderr.contains("ulimit -n 64"), "{}", done.stderr);
    }
    let wait = |limit: &str| {
        let wait = [
            "wait",
            "diff/1",
            "--give-up-after",
            "1s",
            "--socket",
            "none",
        ];
        fixture.sandbox.program(&wait).behind(limit).run()
    };
    let done = wait("ulimit -n 10").expect(2);
    assert!(done.stderr.contains("ulimit -n 16"), "{}", done.stderr);
    wait("ulimit -n 16").expect(6);
    let demo = fixture.sandbox.program(&["demo"]).behind("ulimit -n 8");
    demo.run().expect(2);
    // Commands that need few files work.
    let help = fixture.sandbox.program(&["--help"]).behind("ulimit -n 8");
    help.run().expect(0);
}

#[test]
fn a_limit_of_file_size_is_named_when_the_state_reaches_it() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    for limit in ["1", "8", "16", "32"] {
        let done = fixture
            .watch(&["diff/1", "--state", &format!("state-{limit}")])
            .behind(&format!("ulimit -f {limit}"))
            .run()
            .expect(78);
        let all = done.stdout + &done.stderr;
        assert!(all.contains("ulimit -f"), "{limit}: {all}");
    }
}

#[test]
fn a_limit_of_file_size_ends_the_output_and_not_the_watch() {
    let fixture = SimFixture::new(&job("diff/1", "ending = 'squashed'"));
    let file = File::create(fixture.sandbox.path("out")).unwrap();
    let watch = fixture
        .watch(&["diff/1"])
        .behind("ulimit -f 1")
        .stdout(file);
    let done = watch.run().expect(3);
    assert!(done.stderr.contains("File too large"), "{}", done.stderr);
}

/// Whether this system lets the test create namespaces.
fn may_unshare() -> bool {
    let works = |args: &[&str]| {
        let status = Command::new("unshare").args(args).arg("true").output();
        status.is_ok_and(|output| output.status.success())
    };
    let may = geteuid().is_root() && works(&["-pf", "--mount-proc"]);
    if !may {
        skip("a PID namespace of its own needs root");
    }
    may
}

#[test]
fn hooks_without_proc_are_an_error_at_the_start_and_watches_work() {
    if !may_unshare() {
        return;
    }
    let fixture = SimFixture::new(&job("diff/1", ""));
    let without_proc = [
        "unshare",
        "-m",
        "sh",
        "-c",
        "umount -l /proc; exec \"$@\"",
        "sh",
    ];
    let state = ["diff/1", "--state", "state"];
    fixture.watch(&state).through(&without_proc).run().expect(0);
    let hook = ["diff/1", "--on-event", "job.completed=true"];
    let done = fixture.watch(&hook).through(&without_proc).run().expect(2);
    assert!(
        done.stderr.contains("/proc is not mounted"),
        "{}",
        done.stderr
    );
    // `/proc` of another PID namespace has no entry for this process.
    let done = fixture
        .watch(&hook)
        .through(&["unshare", "-pf"])
        .run()
        .expect(2);
    assert!(done.stderr.contains("PID namespace"), "{}", done.stderr);
}

/// Starts the command as process 1 of a PID namespace.
fn as_process_1(command: CliCommand) -> CliCommand {
    command.through(&["unshare", "-pf", "--mount-proc"])
}

/// Sends a signal to the child of `unshare`, which passes on its exit status.
fn signal_child(unshare: &CliProcess, signal: &str) {
    let kill = format!("kill -{signal} {}", process_1(unshare));
    let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(sent.success(), "{kill}");
}

#[test]
fn process_1_ends_on_a_signal_in_every_command() {
    if !may_unshare() {
        return;
    }
    for (signal, status) in [("TERM", 143), ("INT", 130)] {
        let fixture = SimFixture::new(&job("diff/1", "duration = '1h'"));
        let watch = as_process_1(fixture.watch(&["diff/1"])).start();
        fixture.await_requests("diff/1", 1);
        signal_child(&watch, signal);
        watch.wait().expect(status);

        // A client of a daemon that does not respond.
        let socket = fixture.sandbox.path(signal);
        let listener = UnixListener::bind(&socket).unwrap();
        let args = ["list", "--socket", socket.to_str().unwrap()];
        let list = as_process_1(fixture.sandbox.program(&args)).start();
        let connection = listener.accept().unwrap();
        signal_child(&list, signal);
        list.wait().expect(status);
        drop(connection);
    }
}

#[test]
fn a_hook_of_process_1_is_run_and_its_end_is_seen() {
    if !may_unshare() {
        return;
    }
    let fixture = SimFixture::new(&job("diff/1", ""));
    let hook = hook(&fixture.sandbox, "sleep 0.01 & echo run >> runs");
    let watch = fixture.watch(&["diff/1", "--on-event", &format!("job.completed={hook}")]);
    as_process_1(watch).run().expect(0);
    let runs = fs::read_to_string(fixture.sandbox.path("runs")).unwrap();
    assert_eq!(runs, "run\n");
}

/// The process number 1 in the namespace of `unshare`.
fn process_1(unshare: &CliProcess) -> u32 {
    let children = format!("/proc/{0}/task/{0}/children", unshare.pid());
    fs::read_to_string(children)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn process_1_reaps_what_other_processes_leave_behind() {
    if !may_unshare() {
        return;
    }
    let fixture = SimFixture::new(&job("diff/1", "duration = '1h'"));
    let watch = as_process_1(fixture.watch(&["diff/1"])).start();
    fixture.await_requests("diff/1", 1);
    let first = process_1(&watch).to_string();
    // A shell that starts in the container, as by `docker exec`, and a process that it leaves behind.
    let left = Command::new("nsenter")
        .args([
            "--target",
            &first,
            "--pid",
            "--mount",
            "--",
            "sh",
            "-c",
            "sleep 0.1 &",
        ])
        .output()
        .unwrap();
    assert!(left.status.success(), "{left:?}");
    // The output has ended, and with it the process.
    let began = Instant::now();
    let list = || {
        let ps = Command::new("ps")
            .args(["-o", "stat=,comm=", "--ppid", &first])
            .output();
        String::from_utf8(ps.unwrap().stdout).unwrap()
    };
    while list().contains('Z') {
        assert!(began.elapsed() < TIMEOUT, "{}", list());
    }
    assert_eq!(list().lines().count(), 1, "{}", list());
    signal_child(&watch, "TERM");
    watch.wait().expect(143);
}

#[test]
fn a_key_of_the_terminal_interrupts_process_1_once() {
    if !may_unshare() {
        return;
    }
    let fixture = SimFixture::new(&job("diff/1", "duration = '1h'"));
    // A second signal would not wait for the hook.
    let hook = hook(
        &fixture.sandbox,
        "echo started >> started; sleep 1; echo ended >> ended",
    );
    let watch = fixture.watch(&["diff/1", "--on-event", &format!("job.watching={hook}")]);
    let mut watch = as_process_1(watch).on_terminal(24, 80).start();
    let (started, ended) = (
        fixture.sandbox.path("started"),
        fixture.sandbox.path("ended"),
    );
    let began = Instant::now();
    while !started.exists() {
        assert!(began.elapsed() < TIMEOUT, "the hook did not start");
        thread::sleep(Duration::from_millis(10));
    }
    watch.type_in("\x03");
    watch.wait().expect(130);
    assert_eq!(fs::read_to_string(ended).unwrap(), "ended\n");
}

/// A small socket whose writing end is non-blocking.
fn non_blocking() -> (UnixStream, OwnedFd) {
    let (reader, writer) = UnixStream::pair().unwrap();
    set_socket_send_buffer_size(&writer, 1).unwrap();
    writer.set_nonblocking(true).unwrap();
    (reader, writer.into())
}

/// Waits until the process sleeps or has ended.
fn await_idle(pid: u32) {
    let end = Instant::now() + TIMEOUT;
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let state = stat.rsplit_once(") ").unwrap().1.chars().next();
        if let Some('S' | 'Z') = state {
            return;
        }
        assert!(Instant::now() < end, "{stat}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs the command with a reader that begins once the stream is full. Returns what it reads.
fn read_slowly(command: CliCommand) -> String {
    let (mut reader, writer) = non_blocking();
    let process = command.stdout(writer).start();
    let mut first = [0];
    reader.read_exact(&mut first).unwrap();
    await_idle(process.pid());
    let mut text = String::from(char::from(first[0]));
    reader.read_to_string(&mut text).unwrap();
    let done = process.wait().expect(0);
    assert_eq!(done.stderr, "");
    text
}

#[test]
fn every_command_waits_for_a_full_non_blocking_output() {
    let sandbox = Sandbox::new();
    for args in [&["watch", "--help"][..], &["completions", "zsh"]] {
        let expected = sandbox.program(args).run().expect(0).stdout;
        assert_eq!(read_slowly(sandbox.program(args)), expected, "{args:?}");
    }
    let jobs: String = (1..=30)
        .map(|id| job(&format!("diff/{id}"), "duration = '1h'"))
        .collect();
    let table = (1..=30).map(|id| format!("[[jobs]]\njob = 'diff/{id}'\n"));
    let fixture = DaemonFixture::new(&jobs, &table.collect::<String>());
    let daemon = fixture.start();
    for id in 1..=30 {
        fixture.sim.await_requests(&format!("diff/{id}"), 2);
    }
    for (args, lines) in [
        (&["list"][..], 31),
        (&["events"], 30),
        (&["list", "--json"], 30),
    ] {
        let socket = ("FORGEWATCH_SOCKET", fixture.socket());
        let command = fixture.sim.sandbox.program(args).env(socket.0, socket.1);
        let text = read_slowly(command);
        assert!(text.ends_with('\n'), "{text}");
        let jobs = text.matches("diff/").count();
        assert!(jobs >= lines - 1 && text.lines().count() > 0, "{text}");
    }
    drop(daemon);
}

#[test]
fn a_list_of_jobs_is_awaited_on_a_non_blocking_input() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    let (mut writer, reader) = UnixStream::pair().unwrap();
    reader.set_nonblocking(true).unwrap();
    let watch = fixture
        .watch(&["--jobs-file", "-"])
        .stdin(OwnedFd::from(reader))
        .start();
    await_idle(watch.pid());
    writer.write_all(b"diff/1\n").unwrap();
    drop(writer);
    watch.wait().expect(0);
}
