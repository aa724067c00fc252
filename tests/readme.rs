//! The README's promises: its commands run, its tables are the program's own. And every command that the manuals and
//! the help show is one that the program takes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::process::{Command, Output};

use forgewatch_sim::{Script, Server};

const README: &str = include_str!("../README.md");
const FORGEWATCH: &str = env!("CARGO_BIN_EXE_forgewatch");

/// The lines of the blocks fenced as `sh` or `console`.
fn fenced(page: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        match line {
            "```sh" | "```console" => inside = true,
            "```" => inside = false,
            line if inside => lines.push(line),
            _ => {}
        }
    }
    lines
}

fn commands() -> Vec<&'static str> {
    fenced(README)
}

/// The forgewatch command in a line, without prompt, `sudo`, `env` and redirections.
fn forgewatch_command(line: &str) -> Option<&str> {
    let line = line.trim_start().trim_start_matches("$ ");
    let line = line.trim_start_matches("sudo ");
    let line = match line.strip_prefix("env ") {
        Some(line) => line.split_once(' ')?.1,
        None => line,
    };
    let line = line.split(['|', '>', '#']).next()?.trim_end();
    line.starts_with("forgewatch ").then_some(line)
}

/// Runs a line with `forgewatch` in PATH and an empty home.
fn run(line: &str, home: &std::path::Path, base_url: &str) -> Output {
    let path = format!(
        "{}:{}",
        std::path::Path::new(FORGEWATCH).parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    Command::new("sh")
        .args(["-ec", line])
        .env_clear()
        .envs([("PATH", path.as_str()), ("FORGEWATCH_BASE_URL", base_url)])
        .envs([
            ("FORGEWATCH_ACCESS_KEY", "sim"),
            ("FORGEWATCH_SECRET_KEY", "sim"),
        ])
        .env("HOME", home)
        .output()
        .unwrap()
}

#[test]
fn the_pipeline_recipe_watches_its_jobs_to_their_end() {
    let script = "[[jobs]]\njob = \"update/77\"\nduration = \"2s\"\n\
                  [[jobs]]\njob = \"diff/1234\"\nduration = \"1s\"\n";
    let server = Server::start(Script::parse(script).unwrap()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let recipe = commands()
        .into_iter()
        .find(|line| line.contains("--until-done"))
        .unwrap();
    let output = run(recipe, home.path(), &server.base_url());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("2 of 2 completed"), "{stdout}");
}

#[test]
fn the_configuration_shown_is_in_order() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/forgewatch");
    std::fs::create_dir_all(&folder).unwrap();
    let toml = README
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    std::fs::write(folder.join("forgewatch.toml"), toml).unwrap();
    let line = commands()
        .into_iter()
        .find(|line| line.ends_with("check"))
        .unwrap();
    let output = run(line, home.path(), "https://api.multiplay.co.uk");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn the_two_commands_are_the_ones_that_work() {
    let lines = commands();
    assert_eq!(lines[..2], ["cargo run --release -- demo", "cargo test"]);
    assert!(include_str!("../.ci/run").contains("\ncargo test --locked\n"));
    // `demo` itself is run by tests/cli/demo.rs.
}

/// With `--help` behind it nothing is done, but what stands before that has to be known.
fn expect_known(lines: &[&str], least: usize) {
    let home = tempfile::tempdir().unwrap();
    let lines = lines.iter().filter_map(|line| forgewatch_command(line));
    let known = lines.map(|line| {
        let help = run(&format!("{line} --help"), home.path(), "http://127.0.0.1:9");
        assert_eq!(help.status.code(), Some(0), "{line}: {help:?}");
    });
    assert!(known.count() >= least);
}

#[test]
fn every_command_that_a_page_shows_is_one_that_the_program_takes() {
    for (page, least) in [
        (README, 9),
        (include_str!("../docs/daemon.md"), 3),
        (include_str!("../docs/install.md"), 2),
        (include_str!("../docs/hooks.md"), 1),
        (include_str!("../docs/simulator.md"), 3),
    ] {
        expect_known(&fenced(page), least);
    }
}

#[test]
fn every_example_of_the_help_is_one_that_the_program_takes() {
    let home = tempfile::tempdir().unwrap();
    for (command, least) in [
        ("watch", 4),
        ("simulate", 2),
        ("wait", 3),
        ("add", 2),
        ("remove", 2),
        ("list", 2),
        ("show", 2),
        ("events", 3),
        ("hooks", 3),
        ("state", 2),
        ("completions", 2),
    ] {
        let help = format!("forgewatch {command} --help");
        let help = run(&help, home.path(), "http://127.0.0.1:9").stdout;
        let help = String::from_utf8(help).unwrap();
        let (_, examples) = help.split_once("Examples:").unwrap();
        expect_known(&examples.lines().collect::<Vec<_>>(), least);
    }
}

#[test]
fn the_exit_statuses_are_those_of_the_help() {
    let home = tempfile::tempdir().unwrap();
    let help = run("forgewatch watch --help", home.path(), "http://127.0.0.1:9");
    let help = String::from_utf8(help.stdout).unwrap();
    let rows: Vec<&str> = README
        .lines()
        .skip_while(|line| !line.starts_with("| exit status"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), 12, "{rows:?}");
    for row in rows {
        let status = row.split('|').nth(1).unwrap().trim().replace(", ", "/");
        let known = help
            .lines()
            .any(|line| line.trim_start().starts_with(&format!("{status} ")));
        assert!(known, "{status} is not in the help");
    }
}

/// The pages of the manual and the README.
fn pages() -> Vec<std::path::PathBuf> {
    let mut folders = vec![std::path::PathBuf::from("docs")];
    let mut pages = vec!["README.md".into(), "CONTRIBUTING.md".into()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "md" => pages.push(path),
                _ => {}
            }
        }
    }
    pages
}

/// The targets of links to files, relative to the page.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

#[test]
fn every_link_leads_to_a_file_and_the_index_names_every_page() {
    let index = std::fs::read_to_string("docs/README.md").unwrap();
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        let folder = path.parent().unwrap();
        for link in links(&page) {
            let target = folder.join(link);
            assert!(target.exists(), "{}: {link}", path.display());
        }
        let in_docs = path.strip_prefix("docs").ok();
        let in_docs = in_docs
            .and_then(|path| path.to_str())
            .filter(|path| *path != "README.md");
        let is_named = in_docs.is_none_or(|path| links(&index).any(|link| link == path));
        assert!(is_named, "docs/README.md does not name {}", path.display());
    }
}
