//! Annotations, read back with parsers written from the documentation of each system.

use std::fs;

use super::parsers::{self, Command};
use super::{fixture, watch};
use crate::fixture::{CliOutput, SimFixture};

/// The variables by which each system is recognized.
const VARIABLES: [(&str, &str, &str); 4] = [
    ("github", "GITHUB_ACTIONS", "true"),
    ("gitlab", "GITLAB_CI", "true"),
    ("teamcity", "TEAMCITY_VERSION", "2025.07 (build 197242)"),
    ("azure", "TF_BUILD", "True"),
];

fn names(commands: &[Command]) -> Vec<&str> {
    let mut names: Vec<&str> = commands.iter().map(|command| &*command.name).collect();
    names.dedup();
    names
}

/// The output with the annotations of the system that `variable` shows.
fn run_in(fixture: &SimFixture, variable: (&str, &str, &str)) -> CliOutput {
    let (_, name, value) = variable;
    let done = watch(fixture, &[]).env(name, value).run().expect(1);
    assert_eq!(done.stderr, "");
    done
}

#[test]
fn github_gets_a_group_an_error_and_a_warning() {
    let done = run_in(&fixture(), VARIABLES[0]);
    let commands = parsers::github(&done.stdout);
    let [begin, .., end] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert_eq!(
        (&*begin.name, &*begin.data),
        ("group", "forgewatch: watching 3 jobs")
    );
    assert_eq!(end.name, "endgroup");
    let problem = |name: &str| {
        let command = commands
            .iter()
            .find(|command| command.name == name)
            .unwrap();
        (&*command.properties["title"], &*command.data)
    };
    assert_eq!(problem("error"), ("diff/2 failed", "disk <full>: 99%, 2"));
    let (title, message) = problem("warning");
    assert_eq!(title, "version/3 squashed");
    assert!(message.ends_with("superseded by another job"), "{message}");
    assert_eq!(commands.len(), 4);
    let last = done.stdout.lines().next_back().unwrap();
    assert!(last.contains("1 of 3 completed"), "after the group: {last}");
}

#[test]
fn gitlab_gets_a_section_and_a_red_line() {
    let done = run_in(&fixture(), VARIABLES[1]);
    let commands = parsers::gitlab(&done.stdout);
    assert_eq!(names(&commands), ["section_start", "error", "section_end"]);
    assert_eq!(commands[1].properties["title"], "diff/2 failed");
    assert_eq!(commands[1].data, "disk <full>: 99%, 2");
    assert_eq!(commands[0].properties, commands[2].properties);
}

#[test]
fn teamcity_gets_a_block_progress_and_a_build_problem() {
    let done = run_in(&fixture(), VARIABLES[2]);
    let commands = parsers::teamcity(&done.stdout);
    let [begin, .., end] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert_eq!((&*begin.name, &*end.name), ("blockOpened", "blockClosed"));
    assert_eq!(begin.properties["name"], end.properties["name"]);
    let is = |name: &'static str| move |command: &&Command| command.name == name;
    let problem = commands.iter().find(is("buildProblem")).unwrap();
    assert_eq!(
        problem.properties["description"],
        "diff/2 failed: disk <full>: 99%, 2"
    );
    assert_eq!(problem.properties["identity"], "forgewatch_diff_2_failed");
    let mut progress = commands.iter().filter(is("progressMessage"));
    assert!(progress.any(|command| command.data == "update/1 completed 100%"));
}

#[test]
fn azure_gets_a_group_progress_and_an_issue() {
    let done = run_in(&fixture(), VARIABLES[3]);
    let commands = parsers::azure(&done.stdout);
    let [begin, .., end] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert_eq!((&*begin.name, &*end.name), ("group", "endgroup"));
    let issues = commands
        .iter()
        .filter(|command| command.name == "task.logissue");
    let issues: Vec<_> = issues
        .map(|issue| (&*issue.properties["type"], &*issue.data))
        .collect();
    assert!(
        issues.contains(&("error", "diff/2 failed: disk <full>: 99%, 2")),
        "{issues:?}"
    );
    assert!(
        issues.iter().any(|(kind, _)| *kind == "warning"),
        "{issues:?}"
    );
    let progress = commands
        .iter()
        .filter(|command| command.name == "task.setprogress");
    for command in progress {
        let percent: u8 = command.properties["value"].parse().unwrap();
        assert!(percent <= 100, "{command:?}");
    }
}

#[test]
fn a_chosen_system_overrides_the_environment_and_is_named_outside_of_it() {
    let fixture = fixture();
    for (style, variable, value) in VARIABLES {
        let none = watch(&fixture, &["--annotations", "none"]).env(variable, value);
        let done = none.run().expect(1);
        for (_, parse) in parsers::SYSTEMS {
            assert_eq!(parse(&done.stdout), []);
        }
        let outside = watch(&fixture, &["--annotations", style]).run().expect(1);
        let (_, parse) = parsers::SYSTEMS
            .into_iter()
            .find(|(name, _)| *name == style)
            .unwrap();
        assert!(!parse(&outside.stdout).is_empty());
        let warning = format!("{variable} is not set");
        assert!(outside.stderr.contains(&warning), "{}", outside.stderr);
    }
    let done = watch(&fixture, &["--annotations", "jenkins"])
        .run()
        .expect(2);
    assert!(done.stderr.contains("--annotations"), "{}", done.stderr);
    assert!(
        !watch(&fixture, &[])
            .env("TF_BUILD", "false")
            .run()
            .stdout
            .contains("##")
    );
}

#[test]
fn annotations_go_to_standard_error_beside_json_and_to_standard_output_in_quiet() {
    let fixture = fixture();
    let run = |output| {
        let run = watch(&fixture, &["--output", output]).env("GITHUB_ACTIONS", "true");
        run.run().expect(1)
    };
    let json = run("json");
    assert!(
        json.lines().len() > 4,
        "every line of standard output is JSON"
    );
    assert_eq!(parsers::github(&json.stderr).len(), 4);
    let quiet = run("quiet");
    assert_eq!(parsers::github(&quiet.stdout).len(), 4);
    assert!(
        quiet.stdout.lines().all(|line| line.starts_with("::")),
        "{}",
        quiet.stdout
    );
}

#[test]
fn github_gets_a_summary_and_outputs_that_are_appended() {
    let fixture = fixture();
    let (summary, output) = (
        fixture.sandbox.path("summary"),
        fixture.sandbox.path("output"),
    );
    fs::write(&summary, "# Before\n").unwrap();
    fs::write(&output, "before=1\n").unwrap();
    let run = |style| {
        watch(&fixture, &["--annotations", style])
            .env("GITHUB_STEP_SUMMARY", summary.to_str().unwrap())
            .env("GITHUB_OUTPUT", output.to_str().unwrap())
            .run()
            .expect(1)
    };
    run("gitlab");
    assert_eq!(fs::read_to_string(&output).unwrap(), "before=1\n");
    run("github");
    let text = fs::read_to_string(&summary).unwrap();
    assert!(
        text.starts_with("# Before\n### forgewatch: 1 of 3 completed"),
        "{text}"
    );
    assert!(text.contains("| diff/2 | failed |"), "{text}");
    let text = fs::read_to_string(&output).unwrap();
    let jobs = r#"{"diff/2":"failed","update/1":"completed","version/3":"squashed"}"#;
    assert_eq!(text, format!("before=1\noutcome=failed\njobs={jobs}\n"));
    // A file that cannot be written is an error in the log: the exit status is that of the jobs.
    let done = watch(&fixture, &["--annotations", "github"])
        .env("GITHUB_OUTPUT", "/no/such/file")
        .run()
        .expect(1);
    assert!(
        done.stderr.contains("cannot write /no/such/file"),
        "{}",
        done.stderr
    );
}
