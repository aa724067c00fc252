//! The shipped scripts, and those in the manual.

use forgewatch_core::job::Outcome;
use forgewatch_sim::{Script, Server};

use crate::client::RawClient;

#[test]
fn the_shipped_scripts_can_be_served_and_list_their_outcomes() {
    let outcomes = |script: &Script| {
        script
            .expected()
            .into_iter()
            .map(|(_, outcome)| outcome)
            .collect::<Vec<_>>()
    };
    let demo = Script::demo().unwrap();
    assert_eq!(demo.jobs().len(), 7);
    assert_eq!(
        outcomes(&demo)
            .iter()
            .filter(|o| **o == Outcome::Failed)
            .count(),
        1
    );
    let example = Script::example().unwrap();
    assert_eq!(outcomes(&example).len(), example.summary().lines().count());
    insta::assert_snapshot!(demo.summary(), @r"
    update/77  completes after 9s
    update/78  completes after 14s
    diff/1234  completes after 17s
    diff/1235  fails after 11s
    diff/1236  completes after 15s
    version/5  completes after 13s
    diff/1237  is squashed after 12s
    ");
    for script in [demo, example] {
        let server = Server::start(script.clone()).unwrap();
        let mut client = RawClient::new(&server).with_keys(&script.access_key, &script.secret_key);
        for job in script.jobs() {
            assert!(
                [200, 404].contains(&client.status(&job.to_string()).status),
                "{job}"
            );
        }
    }
}

#[test]
fn the_manual_s_scripts_are_valid_and_its_tables_list_every_key() {
    let manual = include_str!("../../docs/simulator.md");
    let scripts: Vec<&str> = manual
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(scripts.len(), 3);
    for script in scripts {
        Script::parse(script).unwrap();
    }
    // the error for an unknown key lists all keys
    for unknown in [
        "x = 1",
        "[[jobs]]\nx = 1",
        "[[faults]]\nx = 1",
        "[[jobs]]\nsetbacks = [{ x = 1 }]",
        "[[jobs]]\njson_style = \"x\"",
        "[[jobs]]\neta = \"x\"",
        "[[jobs]]\nending = \"x\"",
        "[[faults]]\nbad_response = \"x\"",
    ] {
        let message = Script::parse(unknown).unwrap_err().message;
        let (_, known) = message.split_once("expected one of ").unwrap();
        for key in known.split(", ").map(|key| key.trim_matches('`')) {
            let forms = [
                format!("`{key}"),
                format!("\"{key}\""),
                format!("[[{key}]]"),
                format!(".{key}]]"),
            ];
            assert!(
                forms.iter().any(|form| manual.contains(form)),
                "{key} is not in the manual"
            );
        }
    }
}
