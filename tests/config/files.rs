//! Which file is read, what it says, and what is said of it.

use std::path::PathBuf;
use std::time::Duration;

use forgewatch::config::{self, CommandLine};

use crate::place::{Place, given, jobs};

#[test]
fn a_file_with_many_errors_is_told_of_all_of_them() {
    let place = Place::new().file(
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
    let said = place.run(&["check", "--config", "f.toml"]);
    insta::assert_snapshot!("many_errors", said);
    assert_eq!(
        place.run(&["watch", "--until-done", "--config", "f.toml"]),
        said
    );
}

#[test]
fn sections_of_the_wrong_shape_are_told() {
    let place = Place::new().file(
        "f.toml",
        "base_url = 'x'\napi = 5\njobs = [1]\n[[schedule]]\n[http]\n",
    );
    insta::assert_snapshot!("wrong_shapes", place.run(&["check", "--config", "f.toml"]));
}

#[test]
fn what_is_no_toml_is_told_in_a_line_each() {
    let place = Place::new().file(
        "f.toml",
        "[api]\ntimeout = 5s\njobfailed = \"flag\njobfailed = \"flag\"\n[schedule\n[api]\n",
    );
    insta::assert_snapshot!("no_toml", place.run(&["check", "--config", "f.toml"]));
}

#[test]
fn a_file_that_cannot_be_used_is_told() {
    let place = Place::new()
        .file_with_mode("group.toml", "", 0o664)
        .file_with_mode("world.toml", "", 0o646)
        .file("latin1.toml", b"[api]\n# \xfcber\n")
        .file("long.toml", "#".repeat((1 << 20) + 1))
        .file("folder/x", "");
    let mut said = String::new();
    for file in [
        "none.toml",
        "folder",
        "group.toml",
        "world.toml",
        "latin1.toml",
        "long.toml",
    ] {
        said += &place.run(&["check", "--config", file]);
    }
    insta::assert_snapshot!("unusable_files", said);
}

#[test]
fn a_file_of_nonsense_is_not_told_line_by_line() {
    let lines: Vec<String> = (0..5000).map(|n| format!("x{n} = 1")).collect();
    let said = Place::new()
        .with_credentials()
        .file("f.toml", lines.join("\n"))
        .run(&["check", "--config", "f.toml"]);
    assert_eq!(said.lines().count(), 102);
    assert!(said.ends_with("error: and 4901 more\n"), "{said}");
}

#[test]
fn a_flag_goes_before_the_variable_and_the_variable_before_the_file() {
    let place = Place::new().file(
        "f.toml",
        "[api]\naccount_service_id = 1\nbase_url = 'https://file.example'\n[schedule]\nmin_interval = '3s'\n",
    );
    let mut given = given(&place.path("f.toml"));
    let read = |place: &Place, given: &CommandLine| {
        let api = place.load(given).unwrap().settings.api;
        (api.base_url.to_string(), api.account_service_id)
    };
    assert_eq!(read(&place, &given), ("https://file.example/".into(), 1));

    let place = place
        .var("FORGEWATCH_BASE_URL", "https://variable.example/x/")
        .var("FORGEWATCH_ACCOUNT_SERVICE_ID", "2");
    let variable = "https://variable.example/x".to_owned();
    assert_eq!(read(&place, &given), (variable.clone(), 2));

    given.flags = vec![("--account-service-id", "3".to_owned())];
    assert_eq!(read(&place, &given), (variable, 3));
    let schedule = place.load(&given).unwrap().settings.limits.schedule;
    assert_eq!(schedule.min_interval, Duration::from_secs(3));
}

#[test]
fn jobs_of_a_named_file_are_watched_unless_the_command_line_names_some() {
    let place = Place::new().file(
        "f.toml",
        "[api]\naccount_service_id = 1\n[[jobs]]\njob = 'diff/1'\nlabels = { a = '1' }\n[[jobs]]\njob = 'update/2'\n\
         [[jobs]]\njob = 'diff/1'\nlabels = { b = '2' }\n",
    );
    let mut given = given(&place.path("f.toml"));
    assert_eq!(jobs(&place.load(&given).unwrap()), ["diff/1 {}"]);
    given.jobs.clear();
    given.labels = vec!["a=9".to_owned()];
    assert_eq!(
        jobs(&place.load(&given).unwrap()),
        [r#"diff/1 {"a": "9", "b": "2"}"#, r#"update/2 {"a": "9"}"#]
    );
}

const OF_A_DAEMON: &str = "[api]\naccount_service_id = 7\n[schedule]\nmin_interval = '2s'\n\
     [state]\nretain = 'soon'\n[control]\ngroup = 1\n[[hooks]]\nname = 'x'\n[[jobs]]\njob = 'diff/1'\n";

#[test]
fn of_a_file_found_by_default_a_one_shot_takes_api_and_schedule_only() {
    let place = Place::new().file(".config/forgewatch/forgewatch.toml", OF_A_DAEMON);
    let home = place.folder.path().to_str().unwrap().to_owned();
    // A relative one is none.
    let place = place.var("HOME", home).var("XDG_CONFIG_HOME", "xdg");
    let mut given = CommandLine {
        jobs: vec!["update/2".to_owned()],
        ..CommandLine::default()
    };
    let loaded = place.load(&given).unwrap();
    assert_eq!(loaded.settings.api.account_service_id, 7);
    assert_eq!(
        loaded.settings.limits.schedule.min_interval,
        Duration::from_secs(2)
    );
    assert_eq!(jobs(&loaded), ["update/2 {}"]);

    given.jobs.clear();
    let error = place.load(&given).unwrap_err().to_string();
    assert!(error.starts_with("no jobs to watch"), "{error}");
    let error = config::inspect(None, &place.env()).unwrap_err().to_string();
    assert!(error.contains(":6:10: state.retain: "), "{error}");
    assert!(error.contains(":8:9: control.group: "), "{error}");
}

#[test]
fn the_users_file_goes_before_none_and_a_named_one_before_both() {
    let file = |id: u8| format!("[api]\naccount_service_id = {id}\n");
    let place = Place::new()
        .file("xdg/forgewatch/forgewatch.toml", file(1))
        .file("variable.toml", file(2))
        .file("flag.toml", file(3));
    let at = |place: &Place, name| place.path(name).to_str().unwrap().to_owned();
    let (xdg, variable) = (at(&place, "xdg"), at(&place, "variable.toml"));
    let id = |place: &Place, config: Option<PathBuf>| {
        let given = CommandLine {
            config,
            jobs: vec!["diff/1".to_owned()],
            ..CommandLine::default()
        };
        place.load(&given).unwrap().settings.api.account_service_id
    };
    let place = place.var("XDG_CONFIG_HOME", xdg);
    assert_eq!(id(&place, None), 1);
    let place = place.var("FORGEWATCH_CONFIG", variable);
    assert_eq!(id(&place, None), 2);
    assert_eq!(id(&place, Some(place.path("flag.toml"))), 3);
}

#[test]
fn a_path_in_a_file_starts_at_that_file() {
    let place = Place::new().file(
        "sub/f.toml",
        "[api]\naccount_service_id = 1\ncredentials_file = 'keys'\nca_file = '/ca.pem'\n",
    );
    let loaded = place.load(&given(&place.path("sub/f.toml"))).unwrap();
    assert_eq!(loaded.credentials_file, Some(place.path("sub/keys")));
    assert_eq!(loaded.settings.api.ca_file, Some("/ca.pem".into()));
}
