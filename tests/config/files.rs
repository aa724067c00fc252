//! Which file is read, its values and its errors.

use std::path::PathBuf;
use std::time::Duration;

use forgewatch::config::{self, CommandLine};

use crate::fixture::{ConfigFixture, command_line, jobs};

#[test]
fn all_errors_of_a_file_are_reported() {
    let fixture = ConfigFixture::new().file(
        "f.toml",
        r#"# everything here is wrong
top = 1
[api]
base_url = "http://user:canary@api.example.net"
timeout = "5 minutes ago"
conect_timeout = "5s"
max_in_flight = 0
max_requests_per_second = nan
max_body = "1 gig"
diff_info = "yes"
stalled_after = "30m"
ca_file = ["x"]
secret_key = "canary"
[schedule]
policy = "fast"
request_cost = 1
min_interval = "1ms"
max_interval = "2d"
progress_step = 0x65
give_up_after = "nevr"
[shedule]
[http]
listen = "x"
[[hooks]]
name = "x"
[[jobs]]
job = "diff/0"
labels = { "build nr" = "1", b = 2 }
[[jobs]]
labels = 3
[[jobs]]
job = 1234
kind = "x"
[[jobs]]
job = "diff/7"
labels = { build = "1" }
[[jobs]]
job = "diff/7"
labels = { build = "2" }
"#,
    );
    let output = fixture.run(&["check", "--config", "f.toml"]);
    insta::assert_snapshot!("many_errors", output);
    assert_eq!(
        fixture.run(&["watch", "--until-done", "--config", "f.toml"]),
        output
    );
}

#[test]
fn sections_of_the_wrong_type_are_reported() {
    let fixture = ConfigFixture::new().file(
        "f.toml",
        "base_url = 'x'\napi = 5\njobs = [1]\n[[schedule]]\n[[http]]\n",
    );
    insta::assert_snapshot!(
        "wrong_shapes",
        fixture.run(&["check", "--config", "f.toml"])
    );
}

#[test]
fn syntax_errors_are_reported_one_per_line() {
    let fixture = ConfigFixture::new().file(
        "f.toml",
        "[api]\ntimeout = 5s\njobfailed = \"flag\njobfailed = \"flag\"\n[schedule\n[api]\n",
    );
    insta::assert_snapshot!("no_toml", fixture.run(&["check", "--config", "f.toml"]));
}

#[test]
fn unusable_files_are_reported() {
    let fixture = ConfigFixture::new()
        .file_with_mode("group.toml", "", 0o664)
        .file_with_mode("world.toml", "", 0o646)
        .file("latin1.toml", b"[api]\n# \xfcber\n")
        .file("long.toml", "#".repeat((1 << 20) + 1))
        .file("folder/x", "");
    let mut output = String::new();
    for file in [
        "none.toml",
        "folder",
        "group.toml",
        "world.toml",
        "latin1.toml",
        "long.toml",
    ] {
        output += &fixture.run(&["check", "--config", file]);
    }
    insta::assert_snapshot!("unusable_files", output);
}

#[test]
fn the_number_of_reported_errors_is_limited() {
    let lines: Vec<String> = (0..5000).map(|n| format!("x{n} = 1")).collect();
    let output = ConfigFixture::new()
        .with_credentials()
        .file("f.toml", lines.join("\n"))
        .run(&["check", "--config", "f.toml"]);
    assert_eq!(output.lines().count(), 102);
    assert!(output.ends_with("error: and 4901 more\n"), "{output}");
}

#[test]
fn a_flag_overrides_the_variable_and_the_variable_overrides_the_file() {
    let fixture = ConfigFixture::new().file(
        "f.toml",
        "[api]\naccount_service_id = 1\nbase_url = 'https://file.example'\n[schedule]\nmin_interval = '3s'\n",
    );
    let mut command_line = command_line(&fixture.path("f.toml"));
    let read = |fixture: &ConfigFixture, command_line: &CommandLine| {
        let api = fixture.load(command_line).unwrap().settings.api;
        (api.base_url.to_string(), api.account_service_id)
    };
    assert_eq!(
        read(&fixture, &command_line),
        ("https://file.example/".into(), 1)
    );

    let fixture = fixture
        .var("FORGEWATCH_BASE_URL", "https://variable.example/x/")
        .var("FORGEWATCH_ACCOUNT_SERVICE_ID", "2");
    let variable = "https://variable.example/x".to_owned();
    assert_eq!(read(&fixture, &command_line), (variable.clone(), 2));

    command_line.flags = vec![("--account-service-id", "3".to_owned())];
    assert_eq!(read(&fixture, &command_line), (variable, 3));
    let schedule = fixture
        .load(&command_line)
        .unwrap()
        .settings
        .limits
        .schedule;
    assert_eq!(schedule.min_interval, Duration::from_secs(3));
}

#[test]
fn jobs_of_a_named_file_are_used_unless_the_command_line_names_some() {
    let fixture = ConfigFixture::new().file(
        "f.toml",
        "[api]\naccount_service_id = 1\n[[jobs]]\njob = 'diff/1'\nlabels = { a = '1' }\n[[jobs]]\njob = 'update/2'\n\
         [[jobs]]\njob = 'diff/1'\nlabels = { b = '2' }\n",
    );
    let mut command_line = command_line(&fixture.path("f.toml"));
    assert_eq!(jobs(&fixture.load(&command_line).unwrap()), ["diff/1 {}"]);
    command_line.jobs.clear();
    command_line.labels = vec!["a=9".to_owned()];
    assert_eq!(
        jobs(&fixture.load(&command_line).unwrap()),
        [r#"diff/1 {"a": "9", "b": "2"}"#, r#"update/2 {"a": "9"}"#]
    );
}

const DAEMON_FILE: &str = "[api]\naccount_service_id = 7\n[schedule]\nmin_interval = '2s'\n\
     [state]\nretain = 'soon'\n[control]\ngroup = 1\n[[hooks]]\nname = 'x'\n[[jobs]]\njob = 'diff/1'\n";

#[test]
fn a_one_shot_uses_only_api_and_schedule_of_a_file_at_a_default_path() {
    let fixture = ConfigFixture::new().file(".config/forgewatch/forgewatch.toml", DAEMON_FILE);
    let home = fixture.folder.path().to_str().unwrap().to_owned();
    // A relative XDG_CONFIG_HOME is ignored.
    let fixture = fixture.var("HOME", home).var("XDG_CONFIG_HOME", "xdg");
    let mut command_line = CommandLine {
        jobs: vec!["update/2".to_owned()],
        ..CommandLine::default()
    };
    let loaded = fixture.load(&command_line).unwrap();
    assert_eq!(loaded.settings.api.account_service_id, 7);
    assert_eq!(
        loaded.settings.limits.schedule.min_interval,
        Duration::from_secs(2)
    );
    assert_eq!(jobs(&loaded), ["update/2 {}"]);

    command_line.jobs.clear();
    let error = fixture.load(&command_line).unwrap_err().to_string();
    assert!(error.starts_with("no jobs to watch"), "{error}");
    let error = config::inspect(None, &fixture.env())
        .unwrap_err()
        .to_string();
    assert!(error.contains(":6:10: state.retain: "), "{error}");
    assert!(error.contains(":8:9: control.group: "), "{error}");
}

#[test]
fn the_flag_names_a_file_before_the_variable_and_the_variable_before_the_default_path() {
    let file = |id: u8| format!("[api]\naccount_service_id = {id}\n");
    let fixture = ConfigFixture::new()
        .file("xdg/forgewatch/forgewatch.toml", file(1))
        .file("variable.toml", file(2))
        .file("flag.toml", file(3));
    let at = |fixture: &ConfigFixture, name| fixture.path(name).to_str().unwrap().to_owned();
    let (xdg, variable) = (at(&fixture, "xdg"), at(&fixture, "variable.toml"));
    let id = |fixture: &ConfigFixture, config: Option<PathBuf>| {
        let command_line = CommandLine {
            config,
            jobs: vec!["diff/1".to_owned()],
            ..CommandLine::default()
        };
        fixture
            .load(&command_line)
            .unwrap()
            .settings
            .api
            .account_service_id
    };
    let fixture = fixture.var("XDG_CONFIG_HOME", xdg);
    assert_eq!(id(&fixture, None), 1);
    let fixture = fixture.var("FORGEWATCH_CONFIG", variable);
    assert_eq!(id(&fixture, None), 2);
    assert_eq!(id(&fixture, Some(fixture.path("flag.toml"))), 3);
}

#[test]
fn a_path_in_a_file_is_relative_to_that_file() {
    let fixture = ConfigFixture::new().file(
        "sub/f.toml",
        "[api]\naccount_service_id = 1\ncredentials_file = 'keys'\nca_file = '/ca.pem'\n",
    );
    let loaded = fixture
        .load(&command_line(&fixture.path("sub/f.toml")))
        .unwrap();
    assert_eq!(
        loaded.settings.credentials_file,
        Some(fixture.path("sub/keys"))
    );
    assert_eq!(loaded.settings.api.ca_file, Some("/ca.pem".into()));
}
