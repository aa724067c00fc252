//! Completions that know what the daemon watches, in real shells.

use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::daemon::{DaemonFixture, DaemonProcess, hook};
use crate::fixture::{CliCommand, Sandbox, job};
use crate::hook_supervisor::skip::skip;

/// A daemon with two watched jobs, a job that has ended, and a failed delivery.
fn watching() -> (DaemonFixture, DaemonProcess) {
    let script = job("diff/1234", "duration = '1h'")
        + &job("update/77", "duration = '1h'")
        + &job("diff/5", "ending = 'failed'");
    let jobs = "[[jobs]]\njob = 'diff/1234'\nlabels = { build = '8812', evil = '$(touch pwned)' }\n\
                [[jobs]]\njob = 'update/77'\n[[jobs]]\njob = 'diff/5'\n";
    let hooks = hook("chat", "'job.failed'", "/bin/false", "retries = 0")
        + &hook("next-step", "'job.completed'", "/bin/true", "");
    let fixture = DaemonFixture::new(&script, &(jobs.to_owned() + &hooks));
    let mut daemon = fixture.start();
    for job in ["diff/1234", "update/77"] {
        daemon.await_event("job.watching", job);
    }
    daemon.await_event("hook.failed", "");
    (fixture, daemon)
}

/// A request of a script: fish writes a candidate per line, with a description behind a tab.
fn request(sandbox: &Sandbox, words: &[&str]) -> CliCommand {
    let args = [&["--", "forgewatch"], words].concat();
    sandbox.program(&args).env("_FORGEWATCH_COMPLETE", "fish")
}

/// The candidates for the last word that are not options.
#[track_caller]
fn offered(fixture: &DaemonFixture, words: &[&str]) -> Vec<String> {
    let config = fixture.path("fw.toml");
    let request = request(&fixture.sim.sandbox, words).env("FORGEWATCH_CONFIG", config);
    let done = request.run().expect(0);
    assert_eq!(done.stderr, "");
    let values = done
        .stdout
        .lines()
        .map(|line| line.split('\t').next().unwrap_or_default());
    values
        .filter(|value| !value.starts_with('-'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn values_come_from_the_daemon_the_configuration_and_the_types_of_events() {
    let (fixture, _daemon) = watching();
    fixture.sim.sandbox.file("a-file", "");
    let all = ["diff/5", "diff/1234", "update/77"];
    assert_eq!(offered(&fixture, &["show", ""]), all);
    assert_eq!(offered(&fixture, &["events", "--job", ""]), all);
    assert_eq!(
        offered(&fixture, &["hooks", "test", "chat", "--job", "u"]),
        ["update/77"]
    );
    let watched = ["diff/1234", "update/77"];
    assert_eq!(offered(&fixture, &["remove", ""]), watched);
    assert_eq!(offered(&fixture, &["wait", "update/77", ""]), watched);
    assert_eq!(offered(&fixture, &["wait", "--update", ""]), ["77"]);
    assert_eq!(offered(&fixture, &["wait", "--diff", "9,1"]), ["9,1234"]);
    assert_eq!(offered(&fixture, &["remove", "--diff", "1234,"]), [""; 0]);
    for args in [["list", "-l", ""], ["add", "--label", ""]] {
        assert_eq!(
            offered(&fixture, &args),
            ["build=8812"],
            "a label for the shell to run"
        );
    }
    assert_eq!(
        offered(&fixture, &["hooks", "test", ""]),
        ["chat", "next-step"]
    );
    let deliveries = offered(&fixture, &["hooks", "retry", ""]);
    assert!(
        deliveries.len() == 1 && deliveries[0].ends_with("/chat"),
        "{deliveries:?}"
    );
    assert_eq!(offered(&fixture, &["hooks", "discard", ""]), deliveries);
    assert_eq!(
        offered(&fixture, &["events", "--type", "job.s"]),
        [
            "job.state_changed",
            "job.stalled",
            "job.slow",
            "job.squashed"
        ]
    );
    assert_eq!(offered(&fixture, &["events", "--type", "job.*"]), ["job.*"]);
    assert_eq!(
        offered(&fixture, &["hooks", "test", "chat", "--type", "job.*"]),
        [""; 0],
        "one type"
    );
    assert_eq!(
        offered(&fixture, &["hooks", "test", "chat", "--type", "job.fa"]),
        ["job.failed"]
    );
    assert_eq!(
        offered(&fixture, &["watch", "--on-event", "job.fa"]),
        ["job.failed="]
    );
    assert_eq!(offered(&fixture, &["list", "--state", "q"]), ["queued"]);
}

#[test]
fn files_are_offered_only_where_a_file_is_meant() {
    let fixture = DaemonFixture::new("", "");
    fixture.sim.sandbox.file("a-file", "");
    for words in [
        &["add", ""][..],
        &["watch", ""],
        &["show", ""],
        &["watch", "--diff", ""],
        &["watch", "--timeout", ""],
        &["hooks", "retry", ""],
    ] {
        assert_eq!(offered(&fixture, words), [""; 0], "{words:?}");
    }
    for words in [
        &["watch", "--config", "a"][..],
        &["add", "--jobs-file", "a"],
        &["state", "check", "a"],
        &["show", "--socket", "a"],
    ] {
        assert_eq!(offered(&fixture, words), ["a-file"], "{words:?}");
    }
    assert_eq!(
        offered(&fixture, &["wait", "--report", "junit=a"]),
        ["junit=a-file"]
    );
    assert_eq!(
        offered(&fixture, &["watch", "--report", "j"]),
        ["junit=", "json="]
    );
    let commands = offered(&fixture, &[""]);
    assert!(commands.contains(&"hooks".to_owned()), "{commands:?}");
    assert!(
        !commands.iter().any(|name| name.contains("supervisor")),
        "{commands:?}"
    );
}

#[test]
fn the_socket_on_the_line_is_used() {
    let (fixture, _daemon) = watching();
    let socket = fixture.socket();
    let sandbox = &fixture.sim.sandbox;
    let assigned = format!("--socket={socket}");
    for words in [
        &["show", "--socket", &socket, "up"][..],
        &["show", &assigned, "up"],
    ] {
        let done = request(sandbox, words).run().expect(0);
        assert!(
            done.stdout.starts_with("update/77\t"),
            "{words:?}: {}",
            done.stdout
        );
    }
    let ended = request(sandbox, &["show", &assigned, "diff/5"]);
    let described = ended.run().expect(0).stdout;
    assert!(described.starts_with("diff/5\tfailed"), "{described}");
}

#[test]
fn without_a_daemon_that_responds_nothing_is_offered() {
    let sandbox = Sandbox::new();
    let silent = sandbox.path("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    for socket in [silent.as_path(), Path::new("/nowhere"), Path::new("")] {
        for words in [
            ["show", "d"],
            ["wait", "u"],
            ["list", "-l"],
            ["show", "\u{202e}$(x)"],
        ] {
            let request = request(&sandbox, &words).env("FORGEWATCH_SOCKET", socket);
            let done = request.run().expect(0);
            let values = done.stdout.lines().filter(|line| !line.starts_with('-'));
            assert_eq!(
                (values.count(), done.stderr.as_str()),
                (0, ""),
                "{socket:?} {words:?}"
            );
        }
    }
}

#[test]
fn a_normal_run_ignores_the_variables_of_completions() {
    let sandbox = Sandbox::new();
    let plain = sandbox.program(&["--version"]).run().expect(0).stdout;
    for name in ["COMPLETE", "_FORGEWATCH_COMPLETE", "_CLAP_COMPLETE_INDEX"] {
        let run = sandbox.program(&["--version"]).env(name, "bash");
        assert_eq!(run.run().expect(0).stdout, plain, "{name}");
    }
    // The arguments of a request, without the variable or with a shell that is unknown.
    for shell in ["", "tcsh"] {
        let run = request(&sandbox, &["show", ""]).env("_FORGEWATCH_COMPLETE", shell);
        assert_eq!(run.run().expect(2).stdout, "");
    }
}

/// A shell with the program in its path, which has loaded the completions.
fn shell(fixture: &DaemonFixture, program: &str, args: &[&str]) -> Option<CliCommand> {
    if !Path::new(program).exists() {
        skip(&format!("{program} is not installed"));
        return None;
    }
    let sandbox = &fixture.sim.sandbox;
    let name = Path::new(program).file_name().unwrap().to_str().unwrap();
    let script = sandbox
        .program(&["completions", name])
        .run()
        .expect(0)
        .stdout;
    assert!(!script.contains("hook-supervisor"), "{script}");
    sandbox.file("completions", script);
    Some(sandbox.command(program, args))
}

fn with_path(command: CliCommand, fixture: &DaemonFixture) -> CliCommand {
    let program = Path::new(env!("CARGO_BIN_EXE_forgewatch"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    command
        .env("PATH", path)
        .env("FORGEWATCH_CONFIG", fixture.path("fw.toml"))
}

/// The line that bash has after `keys` were typed.
fn typed_in_bash(fixture: &DaemonFixture, keys: &str) -> Option<String> {
    fixture
        .sim
        .sandbox
        .file("rc", "PS1=''\nset -u\nsource ./completions\n");
    let bash = shell(
        fixture,
        "/bin/bash",
        &["--noprofile", "--rcfile", "rc", "-i"],
    )?;
    // Goes to both ends of the line, and makes it the argument of `echo`.
    let keys = format!("{keys}\u{5}_\u{1}echo _\nexit\n");
    let done = with_path(bash.on_terminal(20, 500), fixture)
        .env("TERM", "dumb")
        .input(&keys)
        .run();
    let lines = done.stdout.lines().map(str::trim);
    let line = lines.rev().find(|line| line.starts_with("_forgewatch"));
    Some(line.unwrap_or_else(|| panic!("{done:?}")).to_owned())
}

#[test]
fn bash_completes_words_as_the_program_sees_them() {
    let (fixture, _daemon) = watching();
    fixture.sim.sandbox.file("my file", "");
    // Escape and `*` insert all candidates.
    for (keys, line) in [
        (
            "forgewatch show d\u{1b}*",
            "_forgewatch show diff/5 diff/1234 _",
        ),
        ("forgewatch show u\t", "_forgewatch show update/77 _"),
        (
            "forgewatch events --job=u\t",
            "_forgewatch events --job=update/77 _",
        ),
        (
            "forgewatch events --job=\u{1b}*",
            "_forgewatch events --job=diff/5 diff/1234 update/77 _",
        ),
        (
            "forgewatch remove -l build=\t",
            "_forgewatch remove -l build=8812 _",
        ),
        ("forgewatch list -l ev\t", "_forgewatch list -l ev_"),
        (
            "forgewatch watch --on-event job.fa\t",
            "_forgewatch watch --on-event job.failed=_",
        ),
        (
            "forgewatch watch --base-url http://x --timeo\t",
            "_forgewatch watch --base-url http://x --timeout _",
        ),
        (
            "forgewatch add --jobs-file my\t",
            "_forgewatch add --jobs-file my file _",
        ),
        ("forgewatch show ~\t", "_forgewatch show ~_"),
    ] {
        let Some(got) = typed_in_bash(&fixture, keys) else {
            return;
        };
        let home = fixture.path("home").display().to_string();
        assert_eq!(got.replace(&home, "~"), line, "{keys:?}");
    }
    assert!(!fixture.path("pwned").exists());
}

#[test]
fn fish_completes_with_descriptions_and_without_files() {
    let (fixture, _daemon) = watching();
    let complete =
        "source ./completions; complete -C 'forgewatch show u'; complete -C 'forgewatch list -l '";
    let Some(fish) = shell(&fixture, "/usr/bin/fish", &["--no-config", "-c", complete]) else {
        return;
    };
    let done = with_path(fish, &fixture).run().expect(0);
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{done:?}");
    assert!(lines[0].starts_with("update/77\t"), "{done:?}");
    assert_eq!(lines[1], "build=8812");
}

#[test]
fn zsh_completes_from_a_file_of_its_function_path() {
    let (fixture, _daemon) = watching();
    let Some(zsh) = shell(&fixture, "/usr/bin/zsh", &["-i"]) else {
        return;
    };
    let script = std::fs::read(fixture.path("completions")).unwrap();
    fixture.sim.sandbox.file("functions/_forgewatch", script);
    let rc = "PS1=''\nfpath=(./functions $fpath)\nautoload -U compinit\ncompinit -u -D\n";
    fixture.sim.sandbox.file(".zshrc", rc);
    let keys = "forgewatch show u\t\u{5}_\u{1}echo _\nexit\n";
    let zsh = with_path(zsh.on_terminal(20, 200), &fixture).env("TERM", "dumb");
    let done = zsh.env("ZDOTDIR", fixture.path("")).input(keys).run();
    let found = done
        .stdout
        .lines()
        .any(|line| line.trim() == "_forgewatch show update/77_");
    assert!(found, "{done:?}");
}
