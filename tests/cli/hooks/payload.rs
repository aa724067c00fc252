//! What a program receives: standard input, arguments and environment.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::{fixture, lines, watch};
use crate::fixture::TIMEOUT;
use crate::receiver::{receive, response};

#[test]
fn the_instance_names_the_sender_in_records_and_payloads() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for (config, name) in [("", host.trim()), ("instance = 'build01'\n", "build01")] {
        let (fixture, hook) = fixture("cat >> events");
        let config = fixture.sandbox.file("fw.toml", config);
        let config = config.to_str().unwrap();
        let on = format!("job.*={hook}");
        let args = ["--config", config, "update/77", "--on-event", &on];
        let done = fixture.watch(&args).env("PATH", "/usr/bin:/bin").run();
        for event in done.expect(0).events() {
            assert_eq!(event["instance"], name, "{event}");
        }
        let sent = fs::read_to_string(fixture.sandbox.path("events")).unwrap();
        let sent = serde_json::Deserializer::from_str(&sent).into_iter::<Value>();
        let sources: Vec<Value> = sent.map(|event| event.unwrap()["source"].clone()).collect();
        assert!(sources.len() >= 2, "{sources:?}");
        assert!(
            sources
                .iter()
                .all(|s| *s == format!("urn:forgewatch:{name}"))
        );
    }
    let (fixture, _) = fixture("");
    let config = fixture.sandbox.file("fw.toml", "instance = 'build 01'\n");
    let args = ["--config", config.to_str().unwrap(), "update/77"];
    let done = fixture.watch(&args).run().expect(2);
    assert!(done.stderr.contains("fw.toml:1:12"), "{}", done.stderr);
}

#[test]
fn a_hook_gets_the_event_and_exactly_the_documented_environment() {
    let (fixture, hook) =
        fixture("env -0 > env; cat > event; printf '%s|' \"$@\" > args; pwd > pwd");
    let done = fixture
        .watch(&[
            "update/77",
            "--on-event",
            &format!("job.completed={hook} 'a  b' $HOME \"$(touch x)\" ; '*'"),
        ])
        .env("PATH", "/usr/bin:/bin")
        .env("TZ", "UTC")
        .env("STRANGER", "1")
        .run()
        .expect(0);
    let end = done.end_of("update/77");
    let env = fs::read_to_string(fixture.sandbox.path("env")).unwrap();
    let pairs = env
        .split_terminator('\0')
        .map(|pair| pair.split_once('=').unwrap());
    // The shell adds these.
    let mut env: BTreeMap<&str, &str> = pairs.collect();
    for of_shell in ["PWD", "OLDPWD", "SHLVL", "_"] {
        env.remove(of_shell);
    }
    let home = fixture.sandbox.path("home");
    let expected = [
        ("FORGEWATCH_EVENT_ID", end["event_id"].as_str().unwrap()),
        ("FORGEWATCH_EVENT_TYPE", "job.completed"),
        ("FORGEWATCH_JOB", "update/77"),
        ("FORGEWATCH_JOB_KIND", "update"),
        ("FORGEWATCH_JOB_ID", "77"),
        ("FORGEWATCH_STATE", "completed"),
        ("FORGEWATCH_PROGRESS", "100"),
        ("FORGEWATCH_ERROR", ""),
        ("FORGEWATCH_ATTEMPT", "1"),
        ("FORGEWATCH_TEST", ""),
        ("PATH", "/usr/bin:/bin"),
        ("TZ", "UTC"),
        ("HOME", home.to_str().unwrap()),
    ];
    assert_eq!(env, BTreeMap::from(expected));

    let event: Value = serde_json::from_str(&lines(&fixture, "event").join("\n")).unwrap();
    assert_eq!(event["id"], end["event_id"]);
    assert_eq!(event["type"], "io.forgewatch.job.completed.v1");
    assert_eq!(event["data"]["elapsed_ms"], end["elapsed_ms"]);
    assert_eq!(lines(&fixture, "args"), ["a  b|$HOME|$(touch x)|;|*|"]);
    assert!(!fixture.sandbox.path("x").exists());
    let here = fs::canonicalize(fixture.sandbox.path(".")).unwrap();
    assert_eq!(lines(&fixture, "pwd"), [here.to_str().unwrap()]);
}

#[test]
fn labels_and_the_trace_reach_records_and_hooks() {
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let context = format!("00-{trace}-{span}-01");
    let receiver = receive(vec![response("204 No Content", "")]);
    let (fixture, hook) =
        fixture("echo \"$FORGEWATCH_LABEL_APP_NAME $FORGEWATCH_LABEL_BUILD $TRACEPARENT\" > env");
    let config = format!(
        "[[hooks]]\nname = 'w'\non = ['job.completed']\nwebhook = '{}'\n",
        receiver.url
    );
    let config = fixture.sandbox.file("fw.toml", config);
    let on = format!("job.completed={hook}");
    let watch = |context: &str| {
        let config = config.to_str().unwrap();
        let args = ["update/77", "--on-event", &on, "--config", config];
        let labels = ["-l", "app/name=$(touch x)", "-l", "build=8812"];
        let watch = fixture.watch(&[&args[..], &labels].concat());
        let watch = watch.env("PATH", "/usr/bin:/bin");
        watch.env("TRACEPARENT", context).run().expect(0)
    };
    for event in watch(&context).events() {
        assert_eq!(event["trace_id"], trace, "{event}");
        assert_eq!(event["span_id"], span, "{event}");
        assert_eq!(event["trace_flags"], "01", "{event}");
    }
    assert_eq!(
        lines(&fixture, "env"),
        [format!("$(touch x) 8812 {context}")]
    );
    let request = receiver.requests.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(request.header("traceparent"), context);

    let done = watch("00-4bf9-1-01");
    assert!(
        done.events()
            .iter()
            .all(|event| event["trace_id"].is_null())
    );
    let ignored =
        |line: &Value| line["level"] == "WARN" && line["message"] == "TRACEPARENT ignored";
    assert!(done.lines().iter().any(ignored), "{}", done.stdout);
    assert_eq!(lines(&fixture, "env"), ["$(touch x) 8812 "]);
    let request = receiver.requests.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(request.header("traceparent"), "");
}

#[test]
fn a_hook_never_sees_the_credentials() {
    let (fixture, hook) =
        fixture("env > env; tr '\\0' ' ' < /proc/$PPID/environ > above; cat > event");
    watch(&fixture, &[&format!("job.completed={hook}")]).expect(0);
    for file in ["env", "above", "event"] {
        let text = lines(&fixture, file).join("\n");
        assert!(!text.is_empty(), "{file}");
        assert!(
            !text.contains("SECRET_KEY") && !text.contains("ACCESS_KEY"),
            "{file}: {text}"
        );
    }
}
