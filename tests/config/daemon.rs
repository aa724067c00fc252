//! Configuration of the daemon, and the parts of it that a one-shot ignores.

use std::path::{Path, PathBuf};
use std::time::Duration;

use forgewatch::config::{self, CommandLine};

use crate::fixture::{ConfigFixture, command_line, jobs, with_flags};

fn no_jobs(command_line: CommandLine) -> CommandLine {
    CommandLine {
        jobs: Vec::new(),
        ..command_line
    }
}

/// A daemon's configuration with every section.
const WHOLE: &str = "[api]\naccount_service_id = 7\n[state]\npath = 'state/state.db'\nretain = '7d'\n\
     [control]\nsocket = '/run/other.sock'\ngroup = 'builders'\nstop_grace = '0s'\n\
     [[jobs]]\njob = 'diff/1'\n";

/// [`WHOLE`] at a default path.
fn with_default_file() -> ConfigFixture {
    let fixture = ConfigFixture::new().file("xdg/forgewatch/forgewatch.toml", WHOLE);
    let xdg = fixture.path("xdg").to_str().unwrap().to_owned();
    fixture.var("XDG_CONFIG_HOME", xdg)
}

#[test]
fn a_daemon_needs_no_jobs_and_never_gives_up_by_default() {
    let loaded = ConfigFixture::new()
        .load_daemon(&no_jobs(with_flags(&[])))
        .unwrap();
    let settings = loaded.settings;
    assert_eq!(settings.jobs, []);
    assert_eq!(settings.limits.give_up_after, None);
    assert!(!settings.limits.refusal_ends);
    assert_eq!(
        settings.state.path,
        Path::new("/var/lib/forgewatch/state.db")
    );
    assert_eq!(settings.state.retain, Duration::from_hours(30 * 24));
    assert_eq!(
        settings.control.socket,
        Path::new("/run/forgewatch/control.sock")
    );
    assert_eq!(settings.control.group.as_deref(), Some("forgewatch-ops"));
    assert_eq!(settings.control.stop_grace, Duration::from_secs(15));
}

#[test]
fn a_daemon_gives_up_after_a_configured_time() {
    let command_line = with_flags(&[("--give-up-after", "1h")]);
    let limits = ConfigFixture::new()
        .load_daemon(&command_line)
        .unwrap()
        .settings
        .limits;
    assert_eq!(limits.give_up_after, Some(Duration::from_hours(1)));
}

#[test]
fn a_daemon_uses_every_section_of_a_file_at_a_default_path() {
    let fixture = with_default_file();
    let loaded = fixture.load_daemon(&CommandLine::default()).unwrap();
    assert_eq!(jobs(&loaded), ["diff/1 {}"]);
    let (state, control) = (loaded.settings.state, loaded.settings.control);
    assert_eq!(state.path, fixture.path("xdg/forgewatch/state/state.db"));
    assert_eq!(state.retain, Duration::from_hours(7 * 24));
    assert_eq!(control.socket, Path::new("/run/other.sock"));
    assert_eq!(control.group.as_deref(), Some("builders"));
    assert_eq!(control.stop_grace, Duration::ZERO);
}

#[test]
fn jobs_on_the_command_line_replace_those_of_a_daemons_file() {
    let fixture = with_default_file().file("list", "update/3\n");
    let named = CommandLine {
        jobs: vec!["diff/2".to_owned()],
        jobs_file: Some(fixture.path("list")),
        ..CommandLine::default()
    };
    let loaded = fixture.load_daemon(&named).unwrap();
    assert_eq!(jobs(&loaded), ["diff/2 {}", "update/3 {}"]);
}

#[test]
fn a_list_from_standard_input_is_reused_at_a_reload() {
    let command_line = CommandLine {
        jobs_file: Some("-".into()),
        standard_input: "diff/4\n".to_owned().into(),
        ..with_flags(&[])
    };
    let fixture = ConfigFixture::new();
    for _ in 0..2 {
        let loaded = fixture.load_daemon(&command_line).unwrap();
        assert_eq!(jobs(&loaded), ["diff/1 {}", "diff/4 {}"]);
    }
}

#[test]
fn flag_and_variable_override_the_daemons_file() {
    let fixture = with_default_file().var("FORGEWATCH_SOCKET", "variable.sock");
    let command_line = CommandLine {
        flags: vec![("--state", "flag.db".to_owned())],
        ..CommandLine::default()
    };
    let loaded = fixture.load_daemon(&command_line).unwrap();
    assert_eq!(loaded.settings.state.path, Path::new("flag.db"));
    assert_eq!(loaded.settings.control.socket, Path::new("variable.sock"));
    assert_eq!(loaded.one_shot.state, None);
}

#[test]
fn a_one_shot_keeps_a_state_only_with_the_flag() {
    let fixture = ConfigFixture::new()
        .with_credentials()
        .file("f.toml", WHOLE);
    let state = |command_line: &CommandLine| fixture.load(command_line).unwrap().one_shot.state;
    let mut command_line = command_line(&fixture.path("f.toml"));
    assert_eq!(state(&command_line), None);
    command_line.flags = vec![("--state", "flag.db".to_owned())];
    assert_eq!(state(&command_line), Some(PathBuf::from("flag.db")));

    command_line.flags = vec![("--state", String::new())];
    let error = fixture.load(&command_line).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"--state: the path is empty; name a file or leave the setting out");
}

#[test]
fn a_socket_path_that_is_too_long_is_an_error_only_for_the_daemon() {
    let fixture = |long| ConfigFixture::new().var("FORGEWATCH_SOCKET", "x".repeat(long));
    let command_line = with_flags(&[]);
    assert!(fixture(97).load_daemon(&command_line).is_ok());
    let fixture = fixture(98);
    assert!(fixture.load(&command_line).is_ok());
    let error = fixture.load_daemon(&command_line).unwrap_err().to_string();
    assert!(
        error.starts_with("FORGEWATCH_SOCKET: ") && error.contains("up to 97 bytes"),
        "{error}"
    );
}

#[test]
fn errors_in_the_daemons_sections_are_reported_with_their_position() {
    let fixture = ConfigFixture::new().file(
        "f.toml",
        format!(
            "[api]\naccount_service_id = 1\n[state]\npath = 5\nretain = '0s'\npaths = 'x'\nsocket = 'x'\n\
             [control]\nsocket = '{}'\ngroup = 'a:b'\nstop_grace = '2h'\n",
            "x".repeat(108)
        ),
    );
    let output = fixture.run(&["check", "--config", "f.toml"]);
    insta::assert_snapshot!("daemons_sections", output);
    let watch = ["watch", "--until-done", "--config", "f.toml", "diff/1"];
    assert_eq!(fixture.run(&watch), output);
}

#[test]
fn group_names_are_checked() {
    let of = |group: &str| {
        let text = format!("[api]\naccount_service_id = 1\n[control]\ngroup = {group:?}\n");
        let fixture = ConfigFixture::new().file("f.toml", text);
        fixture
            .load_daemon(&command_line(&fixture.path("f.toml")))
            .is_ok()
    };
    for good in ["ops", "forgewatch-ops", "_x.y", "gruppe_ä"] {
        assert!(of(good), "{good}");
    }
    for bad in ["", "-x", "a b", "a:b", "a,b", "a/b", "a\u{1b}"] {
        assert!(!of(bad), "{bad}");
    }
    assert!(of(&"x".repeat(255)) && !of(&"x".repeat(256)));
}

#[test]
fn check_accepts_a_daemons_configuration() {
    let fixture = ConfigFixture::new()
        .with_credentials()
        .file("f.toml", WHOLE.replace("'builders'", "'no-such-group'"));
    let output = fixture.run(&["check", "--config", "f.toml"]);
    assert!(output.starts_with("exit status 0\n"), "{output}");
    let who = "/run/other.sock, for root and the daemon's user (no such group: no-such-group)\n";
    assert!(output.contains(who), "{output}");
}

#[test]
fn settings_that_need_a_restart_are_named_with_both_values() {
    let fixture = with_default_file();
    let settings = |fixture: &ConfigFixture, state: &str| {
        let command_line = CommandLine {
            flags: vec![("--state", state.to_owned())],
            ..CommandLine::default()
        };
        fixture.load_daemon(&command_line).unwrap().settings
    };
    let old = settings(&fixture, "/a.db");
    let mut same = old.clone();
    same.state.retain *= 2;
    same.control.stop_grace += Duration::from_secs(1);
    same.jobs.clear();
    assert_eq!(config::needs_restart(&old, &same), [""; 0]);

    let mut new = settings(&fixture.var("FORGEWATCH_SOCKET", "/b.sock"), "/b.db");
    new.control.group = Some("buildersx".to_owned());
    assert_eq!(
        config::needs_restart(&old, &new),
        [
            "state.path: /a.db stays in use; changing it to /b.db needs a restart",
            "control.socket: /run/other.sock stays in use; changing it to /b.sock needs a restart",
            "control.group: builders stays in use; changing it to buildersx needs a restart",
        ]
    );
}
