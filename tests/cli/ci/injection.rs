//! 200 hostile texts through every annotation, report and output: none becomes a command, a link or broken XML.

use std::fs;
use std::path::Path;
use std::process::Command;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::hostile;
use super::parsers::{self, SYSTEMS};
use crate::fixture::{CliCommand, CliOutput, SimFixture};
use crate::hook_supervisor::skip::skip;
use forgewatch_core::sanitize::is_harmful;

const COUNT: usize = 200;

/// Watches one failing job per text.
fn watch(args: &[&str]) -> (SimFixture, CliCommand) {
    let texts = hostile::texts();
    assert_eq!(texts.len(), COUNT);
    let fixture = SimFixture::new(&hostile::script(&texts));
    let list: Vec<String> = (1..=COUNT).map(|n| format!("diff/{n}")).collect();
    let list = fixture.sandbox.file("list", list.join("\n"));
    let config = "[api]\nmax_requests_per_second = 10000\n";
    let config = fixture.sandbox.file("f.toml", config);
    let [list, config] = [list, config].map(|path| path.display().to_string());
    let all = [&["--jobs-file", &list, "--config", &config], args].concat();
    let watch = fixture.watch(&all);
    (fixture, watch)
}

fn run(args: &[&str]) -> CliOutput {
    let (_fixture, watch) = watch(args);
    watch.run().expect(1)
}

#[test]
fn no_text_becomes_a_command_of_the_system_that_gets_annotations() {
    for (style, parse) in SYSTEMS {
        let done = run(&["--output", "text", "--annotations", style]);
        let mut errors = 0;
        for command in parse(&done.stdout) {
            let (title, message) = match (style, &*command.name) {
                ("github" | "gitlab", "error") => (&*command.properties["title"], &*command.data),
                ("teamcity", "buildProblem") => {
                    command.properties["description"].split_once(": ").unwrap()
                }
                ("azure", "task.logissue") => command.data.split_once(": ").unwrap(),
                ("github" | "azure", "group" | "endgroup")
                | ("gitlab", "section_start" | "section_end")
                | ("teamcity", "blockOpened" | "blockClosed" | "progressMessage")
                | ("azure", "task.setprogress") => {
                    assert!(
                        !format!("{command:?}").contains("mark"),
                        "{style}: {command:?}"
                    );
                    continue;
                }
                _ => panic!("{style}: {command:?}"),
            };
            let n: usize = title
                .strip_prefix("diff/")
                .unwrap()
                .strip_suffix(" failed")
                .unwrap()
                .parse()
                .unwrap();
            assert!(
                message.contains(&format!("mark{}.", n - 1)),
                "{style}: {command:?}"
            );
            assert!(
                !message.chars().any(|c| c != '\n' && is_harmful(c)),
                "{style}: {message:?}"
            );
            errors += 1;
        }
        assert_eq!(errors, COUNT, "{style}");
    }
}

#[test]
fn no_text_becomes_a_command_of_any_system_in_any_output() {
    for output in ["text", "json", "quiet"] {
        let done = run(&["--output", output]);
        for (system, parse) in SYSTEMS {
            for stream in [&done.stdout, &done.stderr] {
                assert_eq!(parse(stream), [], "{system} in {output}");
            }
        }
        let harmful = |c: char| c != '\n' && is_harmful(c);
        assert!(!done.stdout.contains(harmful) && !done.stderr.contains(harmful));
    }
}

#[test]
fn no_text_becomes_a_command_of_a_terminal() {
    let (_fixture, watch) = watch(&["--output", "progress"]);
    let screen = watch.on_terminal(50, 200).run().expect(1).stdout;
    assert!(screen.contains("mark199."), "{screen}");
    for (system, parse) in SYSTEMS {
        assert_eq!(parse(&screen), [], "{system}");
    }
    // Bars use escape sequences of their own.
    for hostile in ["\x1b[2J", "title\x07", "\x1b[0Ksection"] {
        assert!(!screen.contains(hostile), "{hostile:?}");
    }
    let harmful = |c: char| !matches!(c, '\x1b' | '\r' | '\n' | '\x07') && is_harmful(c);
    assert!(!screen.contains(harmful));
}

#[test]
fn no_text_breaks_a_report() {
    let args = ["junit=r.xml", "json=r.json", "markdown=r.md"].map(|report| ["--report", report]);
    let (fixture, watch) = watch(args.as_flattened());
    watch.run().expect(1);
    let report = |name: &str| fs::read_to_string(fixture.sandbox.path(name)).unwrap();
    check_junit(&report("r.xml"));
    check_schema(&fixture.sandbox.path("r.xml"));
    check_markdown(&report("r.md"), COUNT);
    let json: serde_json::Value = serde_json::from_str(&report("r.json")).unwrap();
    assert_eq!(json["jobs"].as_array().unwrap().len(), COUNT);
    for (system, parse) in SYSTEMS {
        for name in ["r.json", "r.md"] {
            assert_eq!(parse(&report(name)), [], "{system} in {name}");
        }
    }
}

#[test]
fn no_text_gets_into_the_outputs_of_github_and_none_leaves_its_cell_of_the_summary() {
    let (fixture, watch) = watch(&["--annotations", "github"]);
    let path = |name| fixture.sandbox.path(name).display().to_string();
    let watch = watch.env("GITHUB_STEP_SUMMARY", path("summary"));
    let done = watch.env("GITHUB_OUTPUT", path("output")).run().expect(1);
    assert_eq!(
        parsers::github(&done.stderr)
            .iter()
            .filter(|found| found.name == "error")
            .count(),
        COUNT
    );
    check_markdown(&fs::read_to_string(path("summary")).unwrap(), COUNT);
    let output = fs::read_to_string(path("output")).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "outcome=failed"));
    assert!(!output.contains("mark"), "{output}");
}

/// One failure per text, with the text as its message, without what XML does not allow.
fn check_junit(xml: &str) {
    let document = roxmltree::Document::parse(xml).unwrap();
    let cases: Vec<_> = document
        .descendants()
        .filter(|node| node.has_tag_name("testcase"))
        .collect();
    assert_eq!(cases.len(), COUNT);
    for case in cases {
        let name = case.attribute("name").unwrap();
        let n: usize = name.strip_prefix("diff/").unwrap().parse().unwrap();
        let children: Vec<_> = case
            .children()
            .filter(roxmltree::Node::is_element)
            .collect();
        let [failure] = children[..] else {
            panic!("{xml}");
        };
        assert!(failure.has_tag_name("failure"));
        let message = failure.attribute("message").unwrap();
        assert!(message.contains(&format!("mark{}.", n - 1)), "{message:?}");
        assert!(
            !message
                .chars()
                .any(|c| !matches!(c, '\n' | '\t') && is_harmful(c)),
            "{message:?}"
        );
    }
}

/// Validates the report against the schema of Jenkins' xUnit plugin, which `.ci/run` takes from pytest.
fn check_schema(xml: &Path) {
    let Some(schema) = std::env::var_os("FORGEWATCH_JUNIT_XSD") else {
        return skip(
            "JUnit schema: FORGEWATCH_JUNIT_XSD is not set to a copy of junit-10.xsd, as .ci/run does",
        );
    };
    let mut xmllint = Command::new("xmllint");
    xmllint
        .args(["--noout", "--nonet", "--schema"])
        .arg(schema)
        .arg(xml);
    let done = xmllint.output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A heading and a table whose cells hold plain words and code spans only.
fn check_markdown(text: &str, rows: usize) {
    let mut found = 0;
    let mut cells = 0;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::TableRow) => cells = 0,
            Event::Start(Tag::TableCell) => cells += 1,
            Event::End(TagEnd::TableRow) => {
                assert_eq!(cells, 4);
                found += 1;
            }
            Event::Start(Tag::Table(_) | Tag::TableHead | Tag::Heading { .. })
            | Event::End(
                TagEnd::Table | TagEnd::TableHead | TagEnd::TableCell | TagEnd::Heading(_),
            ) => {}
            Event::Code(code) => assert!(code.contains("mark"), "{code}"),
            Event::Text(text) => assert!(!text.contains("mark"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(found, rows);
}
