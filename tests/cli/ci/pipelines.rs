//! The examples of `docs/pipelines` and the action: each script runs under `bash -eu`, as the CI system would run it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::parsers::{self, Parser};
use super::{cases, fixture};
use crate::fixture::{CliOutput, SimFixture};

/// A file with scripts; the system's variable; how its lines are read.
const EXAMPLES: [(&str, &str, Option<Parser>); 5] = [
    ("action.yml", "GITHUB_ACTIONS", Some(parsers::github)),
    (
        "docs/pipelines/gitlab.yml",
        "GITLAB_CI",
        Some(parsers::gitlab),
    ),
    (
        "docs/pipelines/teamcity.kts",
        "TEAMCITY_VERSION",
        Some(parsers::teamcity),
    ),
    ("docs/pipelines/azure.yml", "TF_BUILD", Some(parsers::azure)),
    ("docs/pipelines/Jenkinsfile", "JENKINS_URL", None),
];

/// The scripts of an example, unescaped as its system does.
fn scripts(name: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let between = |start: &str, end: &str| -> Vec<String> {
        let scripts = text.split(start).skip(1);
        scripts
            .map(|rest| rest.split_once(end).unwrap().0.to_owned())
            .collect()
    };
    match name.rsplit(['.', '/']).next().unwrap() {
        "kts" => between("scriptContent = \"\"\"", "\"\"\"")
            .iter()
            .map(|script| script.replace("${'$'}", "$").replace("%%", "%"))
            .collect(),
        "Jenkinsfile" => between("sh '''", "'''")
            .iter()
            .map(|script| script.replace("\\\\", "\\"))
            .collect(),
        _ => block_scalars(&text),
    }
}

/// The block scalars of `run`, `bash` and list items in YAML.
fn block_scalars(text: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    // The indent of the node that holds the scalar: of the key, or of the list.
    let parent = |line: &str| match line.trim_start() {
        "- |" => indent(line),
        key => line.len() - key.trim_start_matches("- ").len(),
    };
    let lines: Vec<&str> = text.lines().collect();
    let starts =
        (0..lines.len()).filter(|&at| lines[at].ends_with(": |") || lines[at].ends_with("- |"));
    starts
        .map(|at| {
            let inside = |line: &&&str| line.is_empty() || indent(line) > parent(lines[at]);
            let body = lines[at + 1..].iter().take_while(inside);
            body.copied().collect::<Vec<_>>().join("\n")
        })
        .collect()
}

/// Runs one script for these jobs, in the environment that its system would set up.
fn run(fixture: &SimFixture, script: &str, variable: &str, jobs: &str) -> CliOutput {
    let sandbox = &fixture.sandbox;
    let bin = sandbox.path("bin");
    if !bin.exists() {
        fs::create_dir(&bin).unwrap();
        symlink(env!("CARGO_BIN_EXE_forgewatch"), bin.join("forgewatch")).unwrap();
    }
    let config = sandbox.file(
        "f.toml",
        "[schedule]\nmin_interval = '20ms'\nmax_interval = '200ms'\n",
    );
    let script = sandbox.file("script", script);
    let bash = sandbox
        .program(&[""; 0])
        .through(&["bash", "-eu", script.to_str().unwrap()]);
    [
        ("PATH", format!("{}:/usr/bin:/bin", bin.display()).as_str()),
        ("FORGEWATCH_CONFIG", config.to_str().unwrap()),
        ("FORGEWATCH_BASE_URL", &fixture.server.base_url()),
        ("FORGEWATCH_ACCOUNT_SERVICE_ID", "5678"),
        ("CLANFORGE_USR", "sim"),
        ("CLANFORGE_PSW", "sim"),
        (variable, "true"),
        ("JOBS", jobs),
        ("TIMEOUT", "2h"),
        ("REPORT", "r.xml"),
        ("OUTCOME", "failed"),
        ("RESULTS", "{}"),
    ]
    .into_iter()
    .fold(bash, |bash, (name, value)| bash.env(name, value))
    .run()
}

#[test]
fn every_example_waits_annotates_and_reports() {
    for (name, variable, parse) in EXAMPLES {
        let fixture = fixture();
        let scripts = scripts(name);
        let (watch, before) = scripts.split_last().unwrap();
        for script in before {
            run(&fixture, script, variable, "").expect(0);
        }
        let done = run(&fixture, watch, variable, "update/1, diff/2\nversion/3").expect(1);
        if let Some(parse) = parse {
            let commands = parse(&done.stdout);
            let is_failure =
                |command: &parsers::Command| format!("{command:?}").contains("disk <full>: 99%, 2");
            assert!(commands.iter().any(is_failure), "{name}: {commands:?}");
        }
        // The action's own name for it is in REPORT.
        let _ = fs::rename(
            fixture.sandbox.path("forgewatch.xml"),
            fixture.sandbox.path("r.xml"),
        );
        assert_eq!(cases(&fixture).len(), 3, "{name}");
        run(&fixture, watch, variable, "update/1").expect(0);
    }
}

#[test]
fn a_parameter_cannot_become_an_option_or_a_command() {
    for (name, variable, _) in EXAMPLES {
        let fixture = fixture();
        let watch = scripts(name).pop().unwrap();
        for jobs in [
            "--on-event=job.completed='touch forged' update/1",
            "update/1; touch forged",
            "$(touch forged) `touch forged`",
            "'\"; touch forged #",
        ] {
            run(&fixture, &watch, variable, jobs).expect(2);
            assert!(!fixture.sandbox.path("forged").exists(), "{name}: {jobs}");
        }
    }
}

#[test]
fn the_workflow_prints_what_the_action_outputs() {
    let script = scripts("docs/pipelines/github.yml").pop().unwrap();
    let done = run(&fixture(), &script, "GITHUB_ACTIONS", "").expect(0);
    assert_eq!(done.stdout, "outcome: failed\njobs: {}\n");
}
