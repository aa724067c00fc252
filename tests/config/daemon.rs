//! What the daemon takes of the configuration, and what of that is nothing to a one-shot.

use std::path::{Path, PathBuf};
use std::time::Duration;

use forgewatch::config::{self, CommandLine};

use crate::place::{Place, given, jobs, with_flags};

/// A daemon's command line: no jobs.
fn no_jobs(given: CommandLine) -> CommandLine {
    CommandLine {
        jobs: Vec::new(),
        ..given
    }
}

/// A configuration of the machine's daemon with all there is to say.
const WHOLE: &str = "[api]\naccount_service_id = 7\n[state]\npath = 'kept/state.db'\nretain = '7d'\n\
     [control]\nsocket = '/run/other.sock'\ngroup = 'builders'\nstop_grace = '0s'\n\
     [[jobs]]\njob = 'diff/1'\n";

/// [`WHOLE`], where the file is found by default.
fn with_file_of_the_machine() -> Place {
    let place = Place::new().file("xdg/forgewatch/forgewatch.toml", WHOLE);
    let xdg = place.path("xdg").to_str().unwrap().to_owned();
    place.var("XDG_CONFIG_HOME", xdg)
}

#[test]
fn a_daemon_needs_no_jobs_and_never_ends_for_want_of_an_answer() {
    let loaded = Place::new().load_daemon(&no_jobs(with_flags(&[]))).unwrap();
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
    assert_eq!(settings.control.group, "forgewatch-ops");
    assert_eq!(settings.control.stop_grace, Duration::from_secs(15));
}

#[test]
fn a_daemon_gives_up_where_it_is_told_to() {
    let given = with_flags(&[("--give-up-after", "1h")]);
    let limits = Place::new().load_daemon(&given).unwrap().settings.limits;
    assert_eq!(limits.give_up_after, Some(Duration::from_hours(1)));
}

#[test]
fn a_daemon_takes_the_whole_of_a_file_found_by_default() {
    let place = with_file_of_the_machine();
    let loaded = place.load_daemon(&CommandLine::default()).unwrap();
    assert_eq!(jobs(&loaded), ["diff/1 {}"]);
    let (state, control) = (loaded.settings.state, loaded.settings.control);
    assert_eq!(state.path, place.path("xdg/forgewatch/kept/state.db"));
    assert_eq!(state.retain, Duration::from_hours(7 * 24));
    assert_eq!(control.socket, Path::new("/run/other.sock"));
    assert_eq!(control.group, "builders");
    assert_eq!(control.stop_grace, Duration::ZERO);
}

#[test]
fn jobs_on_the_command_line_replace_those_of_the_file_for_a_daemon_too() {
    let place = with_file_of_the_machine().file("list", "update/3\n");
    let named = CommandLine {
        jobs: vec!["diff/2".to_owned()],
        jobs_file: Some(place.path("list")),
        ..CommandLine::default()
    };
    let loaded = place.load_daemon(&named).unwrap();
    assert_eq!(jobs(&loaded), ["diff/2 {}", "update/3 {}"]);
}

#[test]
fn a_list_on_standard_input_is_the_same_when_a_daemon_loads_again() {
    let given = CommandLine {
        jobs_file: Some("-".into()),
        standard_input: "diff/4\n".to_owned().into(),
        ..with_flags(&[])
    };
    let place = Place::new();
    for _ in 0..2 {
        let loaded = place.load_daemon(&given).unwrap();
        assert_eq!(jobs(&loaded), ["diff/1 {}", "diff/4 {}"]);
    }
}

#[test]
fn the_flag_and_the_variable_go_before_the_daemons_file() {
    let place = with_file_of_the_machine().var("FORGEWATCH_SOCKET", "variable.sock");
    let given = CommandLine {
        flags: vec![("--state", "flag.db".to_owned())],
        ..CommandLine::default()
    };
    let loaded = place.load_daemon(&given).unwrap();
    assert_eq!(loaded.settings.state.path, Path::new("flag.db"));
    assert_eq!(loaded.settings.control.socket, Path::new("variable.sock"));
    assert_eq!(loaded.one_shot.state, None);
}

#[test]
fn a_one_shot_keeps_a_state_only_where_the_flag_names_it() {
    let place = Place::new().with_credentials().file("f.toml", WHOLE);
    let kept = |given: &CommandLine| place.load(given).unwrap().one_shot.state;
    let mut given = given(&place.path("f.toml"));
    assert_eq!(kept(&given), None);
    given.flags = vec![("--state", "flag.db".to_owned())];
    assert_eq!(kept(&given), Some(PathBuf::from("flag.db")));

    given.flags = vec![("--state", String::new())];
    let error = place.load(&given).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"--state: the path is empty; name a file, or leave it out");
}

#[test]
fn a_bad_place_of_the_socket_is_an_error_of_the_daemon_alone() {
    let place = |long| Place::new().var("FORGEWATCH_SOCKET", "x".repeat(long));
    let given = with_flags(&[]);
    assert!(place(97).load_daemon(&given).is_ok());
    let place = place(98);
    assert!(place.load(&given).is_ok());
    let error = place.load_daemon(&given).unwrap_err().to_string();
    assert!(
        error.starts_with("FORGEWATCH_SOCKET: ") && error.contains("up to 97 bytes"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_with_the_daemons_sections_is_told_with_its_place() {
    let place = Place::new().file(
        "f.toml",
        format!(
            "[api]\naccount_service_id = 1\n[state]\npath = 5\nretain = '0s'\npaths = 'x'\nsocket = 'x'\n\
             [control]\nsocket = '{}'\ngroup = 'a:b'\nstop_grace = '2h'\n",
            "x".repeat(108)
        ),
    );
    let said = place.run(&["check", "--config", "f.toml"]);
    insta::assert_snapshot!("daemons_sections", said);
    let watch = ["watch", "--until-done", "--config", "f.toml", "diff/1"];
    assert_eq!(place.run(&watch), said);
}

#[test]
fn a_group_is_a_name() {
    let of = |group: &str| {
        let text = format!("[api]\naccount_service_id = 1\n[control]\ngroup = {group:?}\n");
        let place = Place::new().file("f.toml", text);
        place.load_daemon(&given(&place.path("f.toml"))).is_ok()
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
fn check_takes_a_daemons_configuration() {
    let place = Place::new()
        .with_credentials()
        .file("f.toml", WHOLE.replace("'builders'", "'no-such-group'"));
    let said = place.run(&["check", "--config", "f.toml"]);
    assert!(said.starts_with("exit status 0\n"), "{said}");
    let who = "/run/other.sock, for root and the daemon's user alone, as there is no group no-such-group\n";
    assert!(said.contains(who), "{said}");
}

#[test]
fn what_a_running_daemon_cannot_change_is_named_with_both_values() {
    let place = with_file_of_the_machine();
    let settings = |place: &Place, state: &str| {
        let given = CommandLine {
            flags: vec![("--state", state.to_owned())],
            ..CommandLine::default()
        };
        place.load_daemon(&given).unwrap().settings
    };
    let old = settings(&place, "/a.db");
    let mut same = old.clone();
    same.state.retain *= 2;
    same.control.stop_grace += Duration::from_secs(1);
    same.jobs.clear();
    assert_eq!(config::needs_restart(&old, &same), [""; 0]);

    let mut new = settings(&place.var("FORGEWATCH_SOCKET", "/b.sock"), "/b.db");
    new.control.group.push('x');
    assert_eq!(
        config::needs_restart(&old, &new),
        [
            "state.path: /a.db stays in use, /b.db needs a restart",
            "control.socket: /run/other.sock stays in use, /b.sock needs a restart",
            "control.group: builders stays in use, buildersx needs a restart",
        ]
    );
}
