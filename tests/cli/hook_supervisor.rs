//! The supervisor of one hook, spoken to as the watcher does: whatever the hook does, it ends, whole, and bounded.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::place::PATIENCE;
use skip::skip;

#[path = "../support/skip.rs"]
mod skip;

const FORGEWATCH: &str = env!("CARGO_BIN_EXE_forgewatch");

/// A supervisor under way; killed when the test gives up on it.
struct Supervisor {
    child: Child,
    line: Option<ChildStdin>,
}

impl Supervisor {
    fn start(timeout: Duration, command: &[&str], event: &[u8]) -> Self {
        Self::start_by(&[], timeout, command, event)
    }

    /// Started by another program, which becomes it.
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
        let mut line = child.stdin.take().unwrap();
        let length = (event.len() as u64).to_le_bytes();
        line.write_all(&length).unwrap();
        line.write_all(event).unwrap();
        Self {
            child,
            line: Some(line),
        }
    }

    /// All it reported.
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
    Supervisor::start(PATIENCE, command, b"{}").report()
}

fn sh(script: &str) -> Value {
    run(&["/bin/sh", "-c", script])
}

/// How many processes there are with this in their command line.
fn count(mark: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(mark))
        .count()
}

/// A span that no other test sleeps.
fn mark(n: u32) -> String {
    format!("{}.{n}", 100_000 + std::process::id())
}

#[track_caller]
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come to pass");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_end_of_a_hook_is_told_as_it_was() {
    assert_eq!(sh("exit 0")["end"], json!({"exited": 0}));
    assert_eq!(sh("exit 3")["end"], json!({"exited": 3}));
    assert_eq!(sh("kill -TRAP $$")["end"], json!({"killed": 5}));
    let missing = run(&["/no/such/program"]);
    let why = missing["end"]["not_started"].as_str().unwrap();
    assert!(why.contains("No such file"), "{missing}");
}

#[test]
fn arguments_and_event_arrive_as_they_are() {
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
    let told = run(&command);
    assert_eq!(told["stdout"]["head"], format!("{}|", odd.join("|")));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);

    let event = "{\"x\":\"$(touch x)\\n\"}";
    let told = Supervisor::start(PATIENCE, &["/bin/cat"], event.as_bytes()).report();
    assert_eq!(told["stdout"]["head"], event);
}

#[test]
fn a_hook_that_reads_nothing_of_a_large_event_is_no_failure() {
    let event = vec![b'x'; 4 << 20];
    let told = Supervisor::start(PATIENCE, &["/bin/true"], &event).report();
    assert_eq!(told["end"], json!({"exited": 0}));
}

#[test]
fn a_flood_is_drained_and_its_first_and_last_are_kept() {
    let mut flood = Supervisor::start(
        PATIENCE,
        &[
            "/bin/sh",
            "-c",
            "echo first; yes | head -c 200M; echo last; echo oops >&2",
        ],
        b"{}",
    );
    let text = flood.text();
    assert!(text.len() < 200_000, "{} bytes", text.len());
    let told: Value = serde_json::from_str(&text).unwrap();
    let (head, tail) = (&told["stdout"]["head"], &told["stdout"]["tail"]);
    assert!(head.as_str().unwrap().starts_with("first\ny\n"));
    assert!(tail.as_str().unwrap().ends_with("y\nlast\n"));
    let length = head.as_str().unwrap().len() + tail.as_str().unwrap().len();
    assert_eq!(length, 64 * 1024);
    assert_eq!(told["stdout"]["left_out"], (200 << 20) + 11 - 64 * 1024);
    assert_eq!(told["stderr"]["head"], "oops\n");
}

#[test]
fn a_hook_that_ignores_term_is_killed_with_all_it_started() {
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
fn a_hook_that_heeds_term_ends_at_once_and_is_told_as_too_late() {
    let began = Instant::now();
    let script = "trap 'echo bye; exit 0' TERM; sleep 3600 & wait";
    let mut hook = Supervisor::start(
        Duration::from_millis(300),
        &["/bin/sh", "-c", script],
        b"{}",
    );
    let told = hook.report();
    assert_eq!(told["end"], "timed_out");
    assert_eq!(told["stdout"]["head"], "bye\n");
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "nobody waits for KILL"
    );
}

#[test]
fn what_a_hook_leaves_behind_ends_with_it() {
    let mark = mark(2);
    let told = sh(&format!(
        "setsid sleep {mark} & (sleep {mark} &) ; nohup sleep {mark} >/dev/null 2>&1 & echo done"
    ));
    assert_eq!(told["end"], json!({"exited": 0}));
    assert_eq!(told["stdout"]["head"], "done\n");
    assert_eq!(count(&mark), 0);
}

#[test]
fn a_word_ends_the_hook_in_order() {
    let script = "trap 'exit 0' TERM; echo $$; sleep 3600 & wait";
    let mut hook = Supervisor::start(PATIENCE, &["/bin/sh", "-c", script], b"{}");
    hook.line.as_mut().unwrap().write_all(b"!").unwrap();
    assert_eq!(hook.report()["end"], "stopped");
}

#[test]
fn when_the_watcher_is_gone_nothing_of_the_hook_is_left() {
    let mark = mark(3);
    let script = format!("trap '' TERM; setsid sleep {mark} & sleep {mark}; sleep {mark}");
    let mut hook = Supervisor::start(PATIENCE, &["/bin/sh", "-c", &script], b"{}");
    wait_for("the hook's start", || count(&format!("sleep\0{mark}")) == 2);
    drop(hook.line.take());
    assert_eq!(hook.text(), "", "there is nobody to report to");
    assert_eq!(count(&mark), 0);
}

#[test]
fn a_watcher_that_dies_before_it_has_said_all_starts_nothing() {
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
    let mut line = child.stdin.take().unwrap();
    line.write_all(&100u64.to_le_bytes()).unwrap();
    line.write_all(b"{").unwrap();
    drop(line);
    assert!(child.wait_with_output().unwrap().status.success());
    assert!(!file.exists());
}

#[test]
fn a_hook_leads_a_group_of_its_own_and_shares_no_stream() {
    let told = sh(
        "for n in 0 1 2; do readlink /proc/$$/fd/$n; done; cut -d ' ' -f 5 /proc/$$/stat; echo $$",
    );
    let out = told["stdout"]["head"].as_str().unwrap().to_owned();
    let lines: Vec<&str> = out.lines().collect();
    let mut streams = lines[..3].to_vec();
    assert!(streams.iter().all(|s| s.starts_with("pipe:")), "{told}");
    streams.dedup();
    assert_eq!(streams.len(), 3, "{told}");
    assert_eq!(lines[3], lines[4], "{told}");
}

/// A folder that everybody may use.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    folder
}

/// A copy that everybody may run, and only we read: what runs it may not be looked into.
fn guarded(program: &str, folder: &Path) -> String {
    let copy = folder.join(program);
    fs::copy(Path::new("/bin").join(program), &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o711)).unwrap();
    copy.to_str().unwrap().to_owned()
}

/// Becomes another user's process, with a `/proc` that hides who may not be looked into.
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

/// Why another user cannot run these programs in this way; None where it can.
fn lacks(by: &[&str], programs: &[&str]) -> Option<String> {
    if !geteuid().is_root() {
        return Some("another user's processes need root".to_owned());
    }
    for program in programs {
        let mut tried = Command::new(by[0]);
        let tried = tried.args(&by[1..]).arg(program).arg("--help").output();
        match tried {
            Ok(output) if output.status.success() => {}
            other => return Some(format!("another user can't run {program} here: {other:?}")),
        }
    }
    None
}

#[test]
fn what_proc_hides_ends_with_its_hook_too() {
    let folder = open_folder();
    let sleep = guarded("sleep", folder.path());
    if let Some(why) = lacks(&HIDDEN, &[FORGEWATCH, &sleep]) {
        return skip(&why);
    }
    let shell = guarded("sh", folder.path());
    let mark = mark(4);
    let below = format!("setsid {sleep} {mark} & while [ -e /proc/$! ]; do sleep 0.01; done");
    let waits = format!("{below}; wait");
    let short = Duration::from_millis(500);
    for (timeout, command, end) in [
        (
            PATIENCE,
            &["/bin/sh", "-c", &below][..],
            json!({"exited": 0}),
        ),
        (short, &[&sleep, &mark], json!("timed_out")),
        (short, &[&shell, "-c", &waits], json!("timed_out")),
    ] {
        let told = Supervisor::start_by(&HIDDEN, timeout, command, b"{}").report();
        assert_eq!((&told["end"], &told["is_left"]), (&end, &json!(false)));
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
    if let Some(why) = lacks(&USER[..4], &[FORGEWATCH, "prlimit"]) {
        return skip(&why);
    }
    let folder = open_folder();
    // From too few threads and processes for anything to enough for all.
    let ran: Vec<bool> = (1..=8)
        .map(|most| {
            let limit = format!("--nproc={most}");
            let file = folder.path().join(&limit);
            let command = ["/usr/bin/touch", file.to_str().unwrap()];
            let by = [&USER[..], &[&limit]].concat();
            let told = Supervisor::start_by(&by, PATIENCE, &command, b"{}").report();
            let is_started = told["end"] == json!({"exited": 0});
            assert!(
                is_started || told["end"]["not_started"].is_string(),
                "{told}"
            );
            assert_eq!(file.exists(), is_started, "{told}");
            is_started
        })
        .collect();
    assert!(!ran[0] && ran[7], "{ran:?}");
}
