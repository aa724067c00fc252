//! The hook supervisor, driven as forgewatch drives it: every hook ends with all its processes and bounded output.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::fixture::TIMEOUT;
use skip::skip;

#[path = "../support/skip.rs"]
pub(crate) mod skip;

const FORGEWATCH: &str = env!("CARGO_BIN_EXE_forgewatch");

/// A running supervisor; killed when dropped.
struct Supervisor {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Supervisor {
    fn start(timeout: Duration, command: &[&str], event: &[u8]) -> Self {
        Self::start_by(&[], timeout, command, event)
    }

    /// Started through another program, such as `setpriv`.
    fn start_by(by: &[&str], timeout: Duration, command: &[&str], event: &[u8]) -> Self {
        let all = [by, &[FORGEWATCH, "hook-supervisor", "--timeout-ms"]].concat();
        let mut child = Command::new(all[0])
            .args(&all[1..])
            .arg(timeout.as_millis().to_string())
            .arg("--")
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let length = (event.len() as u64).to_le_bytes();
        stdin.write_all(&length).unwrap();
        stdin.write_all(event).unwrap();
        Self {
            child,
            stdin: Some(stdin),
        }
    }

    /// Its complete report.
    fn text(&mut self) -> String {
        let mut text = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_string(&mut text).unwrap();
        assert!(self.child.wait().unwrap().success());
        text
    }

    fn report(&mut self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(command: &[&str]) -> Value {
    Supervisor::start(TIMEOUT, command, b"{}").report()
}

fn sh(script: &str) -> Value {
    run(&["/bin/sh", "-c", script])
}

/// Number of processes with `mark` in their command line.
fn count(mark: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(mark))
        .count()
}

/// A duration for `sleep` that no other test uses.
fn mark(n: u32) -> String {
    format!("{}.{n}", 100_000 + std::process::id())
}

#[track_caller]
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < end, "{what}: timed out");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_report_says_how_a_hook_ended() {
    assert_eq!(sh("exit 0")["end"], json!({"exited": 0}));
    assert_eq!(sh("exit 3")["end"], json!({"exited": 3}));
    assert_eq!(sh("kill -TRAP $$")["end"], json!({"killed": 5}));
    let missing = run(&["/no/such/program"]);
    let why = missing["end"]["not_started"].as_str().unwrap();
    assert!(why.contains("No such file"), "{missing}");
}

#[test]
fn arguments_and_event_arrive_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let odd = [
        "$(touch x)",
        ";",
        "-rf",
        "a\nb",
        "*",
        "",
        "\"'",
        "--timeout-ms",
    ];
    let mut command = vec!["/usr/bin/printf", "%s|"];
    command.extend(odd);
    let report = run(&command);
    assert_eq!(report["stdout"]["head"], format!("{}|", odd.join("|")));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);

    let event = "{\"x\":\"$(touch x)\\n\"}";
    let report = Supervisor::start(TIMEOUT, &["/bin/cat"], event.as_bytes()).report();
    assert_eq!(report["stdout"]["head"], event);
}

#[test]
fn a_hook_may_ignore_a_large_event() {
    let event = vec![b'x'; 4 << 20];
    let report = Supervisor::start(TIMEOUT, &["/bin/true"], &event).report();
    assert_eq!(report["end"], json!({"exited": 0}));
}

#[test]
fn the_first_and_last_bytes_of_large_output_are_captured() {
    let mut flood = Supervisor::start(
        TIMEOUT,
        &[
            "/bin/sh",
            "-c",
            "echo first; yes | head -c 200M; echo last; echo oops >&2",
        ],
        b"{}",
    );
    let text = flood.text();
    assert!(text.len() < 200_000, "{} bytes", text.len());
    let report: Value = serde_json::from_str(&text).unwrap();
    let (head, tail) = (&report["stdout"]["head"], &report["stdout"]["tail"]);
    assert!(head.as_str().unwrap().starts_with("first\ny\n"));
    assert!(tail.as_str().unwrap().ends_with("y\nlast\n"));
    let length = head.as_str().unwrap().len() + tail.as_str().unwrap().len();
    assert_eq!(length, 64 * 1024);
    assert_eq!(report["stdout"]["omitted"], (200 << 20) + 11 - 64 * 1024);
    assert_eq!(report["stderr"]["head"], "oops\n");
}

#[test]
fn a_hook_that_ignores_term_is_killed_with_its_descendants() {
    let mark = mark(1);
    let script = format!(
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep {mark}; sleep {mark}' & sleep {mark}; sleep {mark}"
    );
    let mut hook = Supervisor::start(
        Duration::from_millis(300),
        &["/bin/sh", "-c", &script],
        b"{}",
    );
    assert_eq!(hook.report()["end"], "timed_out");
    assert_eq!(count(&mark), 0);
}

#[test]
fn a_hook_that_ends_on_term_is_reported_as_timed_out_at_once() {
    let began = Instant::now();
    let script = "trap 'echo bye; exit 0' TERM; sleep 3600 & wait";
    let mut hook = Supervisor::start(
        Duration::from_millis(300),
        &["/bin/sh", "-c", script],
        b"{}",
    );
    let report = hook.report();
    assert_eq!(report["end"], "timed_out");
    assert_eq!(report["stdout"]["head"], "bye\n");
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "it waited for KILL"
    );
}

#[test]
fn background_processes_of_a_hook_end_with_it() {
    let mark = mark(2);
    let report = sh(&format!(
        "setsid sleep {mark} & (sleep {mark} &) ; nohup sleep {mark} >/dev/null 2>&1 & echo done"
    ));
    assert_eq!(report["end"], json!({"exited": 0}));
    assert_eq!(report["stdout"]["head"], "done\n");
    assert_eq!(count(&mark), 0);
}

#[test]
fn a_stop_request_ends_the_hook_with_term() {
    let script = "trap 'exit 0' TERM; echo $$; sleep 3600 & wait";
    let mut hook = Supervisor::start(TIMEOUT, &["/bin/sh", "-c", script], b"{}");
    hook.stdin.as_mut().unwrap().write_all(b"!").unwrap();
    assert_eq!(hook.report()["end"], "stopped");
}

#[test]
fn all_processes_of_a_hook_are_killed_when_forgewatch_has_died() {
    let mark = mark(3);
    let script = format!("trap '' TERM; setsid sleep {mark} & sleep {mark}; sleep {mark}");
    let mut hook = Supervisor::start(TIMEOUT, &["/bin/sh", "-c", &script], b"{}");
    wait_for("the hook's start", || count(&format!("sleep\0{mark}")) == 2);
    drop(hook.stdin.take());
    assert_eq!(hook.text(), "", "no report is written");
    assert_eq!(count(&mark), 0);
}

#[test]
fn an_incomplete_event_starts_no_hook() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ran");
    let mut child = Command::new(FORGEWATCH)
        .args([
            "hook-supervisor",
            "--timeout-ms",
            "1000",
            "--",
            "/usr/bin/touch",
        ])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&100u64.to_le_bytes()).unwrap();
    stdin.write_all(b"{").unwrap();
    drop(stdin);
    assert!(child.wait_with_output().unwrap().status.success());
    assert!(!file.exists());
}

#[test]
fn a_hook_has_its_own_process_group_and_streams() {
    let report = sh(
        "for n in 0 1 2; do readlink /proc/$$/fd/$n; done; cut -d ' ' -f 5 /proc/$$/stat; echo $$",
    );
    let out = report["stdout"]["head"].as_str().unwrap().to_owned();
    let lines: Vec<&str> = out.lines().collect();
    let mut streams = lines[..3].to_vec();
    assert!(streams.iter().all(|s| s.starts_with("pipe:")), "{report}");
    streams.dedup();
    assert_eq!(streams.len(), 3, "{report}");
    assert_eq!(lines[3], lines[4], "{report}");
}

/// A directory that all users may write.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    folder
}

/// A copy that all users may execute and only this user may read, so that its processes cannot be inspected.
fn unreadable_copy(program: &str, folder: &Path) -> String {
    let copy = folder.join(program);
    fs::copy(Path::new("/bin").join(program), &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o711)).unwrap();
    copy.to_str().unwrap().to_owned()
}

/// Runs a command as another user, with a `/proc` that hides processes which cannot be inspected.
const HIDDEN: [&str; 12] = [
    "unshare",
    "--mount",
    "--propagation=private",
    "/bin/sh",
    "-c",
    "mount -t proc -o hidepid=invisible,subset=pid proc /proc && exec \"$@\"",
    "sh",
    "setpriv",
    "--reuid=64001",
    "--regid=64001",
    "--clear-groups",
    "--",
];

/// Why another user cannot run these programs through `by`; None if it can.
fn unsupported(by: &[&str], programs: &[&str]) -> Option<String> {
    if !geteuid().is_root() {
        return Some("another user's processes need root".to_owned());
    }
    for program in programs {
        let mut tried = Command::new(by[0]);
        let tried = tried.args(&by[1..]).arg(program).arg("--help").output();
        match tried {
            Ok(output) if output.status.success() => {}
            other => return Some(format!("another user cannot run {program}: {other:?}")),
        }
    }
    None
}

#[test]
fn processes_hidden_from_proc_end_with_their_hook() {
    let folder = open_folder();
    let sleep = unreadable_copy("sleep", folder.path());
    if let Some(why) = unsupported(&HIDDEN, &[FORGEWATCH, &sleep]) {
        return skip(&why);
    }
    let shell = unreadable_copy("sh", folder.path());
    let mark = mark(4);
    let below = format!("setsid {sleep} {mark} & while [ -e /proc/$! ]; do sleep 0.01; done");
    let waits = format!("{below}; wait");
    let short = Duration::from_millis(500);
    for (timeout, command, end) in [
        (
            TIMEOUT,
            &["/bin/sh", "-c", &below][..],
            json!({"exited": 0}),
        ),
        (short, &[&sleep, &mark], json!("timed_out")),
        (short, &[&shell, "-c", &waits], json!("timed_out")),
    ] {
        let report = Supervisor::start_by(&HIDDEN, timeout, command, b"{}").report();
        assert_eq!(
            (&report["end"], &report["has_survivors"]),
            (&end, &json!(false))
        );
        assert_eq!(count(&mark), 0, "{command:?}");
    }
}

#[test]
fn a_hook_that_cannot_be_supervised_is_not_started() {
    const USER: [&str; 5] = [
        "setpriv",
        "--reuid=64002",
        "--regid=64002",
        "--clear-groups",
        "prlimit",
    ];
    if let Some(why) = unsupported(&USER[..4], &[FORGEWATCH, "prlimit"]) {
        return skip(&why);
    }
    let folder = open_folder();
    // From too few threads for any step to enough for all.
    let ran: Vec<bool> = (1..=8)
        .map(|most| {
            let limit = format!("--nproc={most}");
            let file = folder.path().join(&limit);
            let command = ["/usr/bin/touch", file.to_str().unwrap()];
            let by = [&USER[..], &[&limit]].concat();
            let report = Supervisor::start_by(&by, TIMEOUT, &command, b"{}").report();
            let is_started = report["end"] == json!({"exited": 0});
            assert!(
                is_started || report["end"]["not_started"].is_string(),
                "{report}"
            );
            assert_eq!(file.exists(), is_started, "{report}");
            is_started
        })
        .collect();
    assert!(!ran[0] && ran[7], "{ran:?}");
}
