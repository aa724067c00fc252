//! Webhooks in every format, from the configuration to the bytes on the socket.

use serde_json::Value;

use crate::fixture::{CliOutput, Sandbox, SimFixture, job};
use crate::receiver::{ReceivedRequest, WebhookReceiver, receive, response, response_with};

const HOSTILE: &str = "<!channel> @everyone [x](https://evil.example) `x` \\\"quoted\\\"";

/// Watches a job that fails with [`HOSTILE`], with one webhook.
fn watch(receiver: &WebhookReceiver, hook: &str, files: &[(&str, &str)]) -> CliOutput {
    let more = format!("ending = 'failed'\nerror = \"{HOSTILE}\"\nqueued = '100ms'");
    let fixture = SimFixture::new(&job("update/77", &more));
    for (name, text) in files {
        fixture.sandbox.file(name, text);
    }
    fixture.sandbox.file("chat.url", &receiver.url);
    let config = format!("[[hooks]]\nname = 'w'\nwebhook_file = 'chat.url'\n{hook}\n");
    let config = fixture.sandbox.file("f.toml", config);
    let args = [
        "update/77",
        "--config",
        config.to_str().unwrap(),
        "--label",
        "build=8812",
    ];
    fixture.watch(&args).run()
}

fn accept() -> WebhookReceiver {
    receive(vec![response("204 No Content", "")])
}

/// All requests so far, each with its body as JSON.
fn requests(receiver: &WebhookReceiver) -> Vec<(ReceivedRequest, Value)> {
    let parse = |request: ReceivedRequest| {
        let body = serde_json::from_str(&request.body).unwrap();
        (request, body)
    };
    receiver.requests.try_iter().map(parse).collect()
}

#[test]
fn a_chat_gets_its_own_message_with_text_of_the_server_inert() {
    for (format, place) in [
        ("slack", "/blocks/1/text/text"),
        ("discord", "/embeds/0/description"),
        ("teams", "/attachments/0/content/body/1/inlines/0/text"),
    ] {
        let receiver = accept();
        let hook = format!("on = ['job.failed']\nformat = '{format}'");
        watch(&receiver, &hook, &[]).expect(1);
        let requests = requests(&receiver);
        let [(request, body)] = &requests[..] else {
            panic!("{format}: {requests:?}");
        };
        assert_eq!(request.header("content-type"), "application/json");
        let error = body.pointer(place).unwrap().as_str().unwrap();
        assert!(error.contains("quoted"), "{format}: {error}");
        for part in ["<!", "@everyone", "](", "://"] {
            assert!(!request.body.contains(part), "{format}: {}", request.body);
        }
        assert!(body.to_string().contains("update/77 failed"), "{body}");
        assert!(body.to_string().contains("8812"), "{body}");
    }
}

#[test]
fn cdevents_has_a_request_for_queued_started_and_finished_only() {
    let receiver = accept();
    watch(&receiver, "on = ['job.*']\nformat = 'cdevents'", &[]).expect(1);
    let requests = requests(&receiver);
    for (request, body) in &requests {
        assert_eq!(
            request.header("content-type"),
            "application/cloudevents+json"
        );
        assert_eq!(body["data"]["subject"]["id"], "update/77");
        assert_eq!(request.header("webhook-id"), body["id"]);
    }
    let types: Vec<&str> = (requests.iter())
        .map(|(_, body)| body["type"].as_str().unwrap())
        .collect();
    assert_eq!(types.last(), Some(&"dev.cdevents.taskrun.finished.0.3.0"));
    assert!(types.len() <= 3, "{types:?}");
    let (_, last) = requests.last().unwrap();
    assert_eq!(last["data"]["subject"]["content"]["outcome"], "failure");
}

#[test]
fn otlp_has_one_request_with_the_spans_of_the_ended_job() {
    // The first response is lost on the way: the same spans are sent again.
    let receiver = receive(vec![
        response("503 Busy", ""),
        response_with("200 OK", r#"{"partialSuccess":{}}"#),
    ]);
    let done = watch(&receiver, "on = ['job.*']\nformat = 'otlp'", &[]).expect(1);
    let requests = requests(&receiver);
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].1, requests[1].1);
    let spans = requests[0].1["resourceSpans"][0]["scopeSpans"][0]["spans"].clone();
    let end = done.end_of("update/77");
    let spans = spans.as_array().unwrap();
    let names: Vec<&str> = spans
        .iter()
        .filter_map(|span| span["name"].as_str())
        .collect();
    assert_eq!(names, ["RUN update", "queued", "running"]);
    assert!(spans.iter().all(|span| span["traceId"] == end["watch"]));
    let time = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
    for span in spans {
        assert!(time(span, "startTimeUnixNano") <= time(span, "endTimeUnixNano"));
    }
}

#[test]
fn a_template_has_the_fields_as_json() {
    let receiver = accept();
    let template = r#"{"summary": {{ job ~ " " ~ state }}, "error": {{ raw.error_message }}, "build": {{ labels.build }},
        {# no value is null #} "diff": {{ files_added }}}"#;
    let hook = "on = ['job.failed']\nformat = 'template'\nbody_file = 'body.json'";
    watch(&receiver, hook, &[("body.json", template)]).expect(1);
    let requests = requests(&receiver);
    let expected = serde_json::json!({
        "summary": "update/77 failed",
        "error": HOSTILE.replace("\\\"", "\""),
        "build": "8812",
        "diff": null,
    });
    assert_eq!(requests[0].1, expected);
}

#[test]
fn responses_are_read_as_each_receiver_means_them() {
    let delivered = [
        ("slack", response_with("200 OK", "ok")),
        ("teams", response("202 Accepted", "")),
        ("teams", response_with("200 OK", "1")),
        ("discord", response("204 No Content", "")),
        ("otlp", response_with("200 OK", "{}")),
    ];
    for (format, response) in delivered {
        let receiver = receive(vec![response]);
        let hook = format!("on = ['job.failed']\nformat = '{format}'\nretries = 0");
        let done = watch(&receiver, &hook, &[]).expect(1);
        assert_eq!(failures(&done), [""; 0], "{format}");
    }
    let limited = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429";
    let partial = r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#;
    for (format, retries, response, error) in [
        ("slack", 0, response_with("200 OK", "no_text"), "no_text"),
        (
            "slack",
            0,
            response_with("400 Bad", "invalid_payload"),
            "invalid_payload",
        ),
        (
            "teams",
            0,
            response_with("200 OK", limited),
            "HTTP error 429",
        ),
        // Not repeated: the protocol forbids it.
        ("otlp", 8, response_with("200 OK", partial), "too old"),
    ] {
        let receiver = receive(vec![response]);
        let hook = format!("on = ['job.failed']\nformat = '{format}'\nretries = {retries}");
        let done = watch(&receiver, &hook, &[]).expect(1);
        let failures = failures(&done);
        assert!(
            failures.len() == 1 && failures[0].contains(error),
            "{failures:?}"
        );
        assert_eq!(requests(&receiver).len(), 1, "{format}");
    }
}

fn failures(done: &CliOutput) -> Vec<String> {
    let failed = done.events().into_iter();
    let failed = failed.filter(|event| event["event_type"] == "hook.failed");
    failed
        .map(|event| event["error_message"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_delay_in_the_body_of_a_rate_limit_is_kept() {
    let limited = r#"{"message":"You are being rate limited.","retry_after":1.9,"global":false}"#;
    let receiver = receive(vec![
        response_with("429 Too Many Requests", limited),
        response("204 No Content", ""),
    ]);
    watch(&receiver, "on = ['job.failed']\nformat = 'discord'", &[]).expect(1);
    let times: Vec<i64> = (requests(&receiver).iter())
        .map(|(request, _)| request.header("webhook-timestamp").parse().unwrap())
        .collect();
    // In whole seconds. Without the body, the second attempt comes after less than one.
    assert!(times.len() == 2 && times[1] > times[0], "{times:?}");
}

#[test]
fn a_chat_leaves_a_green_deployment_green() {
    let fixture = SimFixture::new(&job("update/77", ""));
    let receiver = receive(vec![response_with("200 OK", "ok")]);
    fixture.sandbox.file("chat.url", &receiver.url);
    let example = include_str!("../../config/examples/hooks.toml");
    let (_, chat) = example.split_once("# Notifies a chat").unwrap();
    let (_, chat) = chat.split_once("[[hooks]]").unwrap();
    let config = fixture.sandbox.file("f.toml", format!("[[hooks]]{chat}"));
    let args = ["update/77", "--config", config.to_str().unwrap()];
    fixture.watch(&args).run().expect(0);
    let requests = requests(&receiver);
    assert_eq!(requests.len(), 1, "watch.finished");
    assert!(requests[0].1["blocks"].is_array());
}

#[test]
fn invalid_formats_and_templates_are_errors_at_their_places() {
    let sandbox = Sandbox::new();
    for (name, text) in [
        ("broken.json", "{\n  \"text\": {{ message }\n}"),
        ("typo.json", "{\n  \"text\": {{ mesage }}\n}"),
        ("quoted.json", "{\"text\": \"{{ message }}\"}"),
        ("filter.json", "{\"text\":\n {{ message | shout }}}"),
        ("good.json", "{\"text\": {{ message }}}"),
    ] {
        sandbox.file(name, text);
    }
    let webhook = |more: &str| {
        format!(
            "[[hooks]]\nname = 'NAME'\non = ['job.failed']\nwebhook = 'https://hooks.example.net'\n{more}\n"
        )
    };
    let template = |file: &str| webhook(&format!("format = 'template'\nbody_file = '{file}'"));
    let hooks = [
        webhook("format = 'slak'"),
        webhook("format = 'mattermost'"),
        webhook("format = 3"),
        webhook("format = 'template'"),
        webhook("body_file = 'good.json'"),
        webhook("format = 'slack'\nbody_file = 'good.json'"),
        template("broken.json"),
        template("typo.json"),
        template("quoted.json"),
        template("filter.json"),
        template("none.json"),
        template("good.json"),
        webhook("format = 'otlp'").replace("job.failed", "job.progressed"),
        webhook("format = 'cdevents'").replace("job.failed", "hook.failed"),
        webhook("").replace(
            "webhook = 'https://hooks.example.net'",
            "run = ['/bin/true']\nformat = 'slack'\nbody_file = 'good.json'",
        ),
        webhook("labels = { 'a b' = 'c' }"),
    ];
    let hooks = (1..)
        .zip(hooks)
        .map(|(n, hook)| hook.replace("NAME", &format!("h{n}")));
    let config = format!(
        "[api]\naccount_service_id = 5678\n{}",
        hooks.collect::<String>()
    );
    let config = sandbox.file("f.toml", config);
    let config = config.to_str().unwrap();
    let done = sandbox
        .program(&["check", "--config", config])
        .run()
        .expect(2);
    insta::assert_snapshot!(done.stderr.replace(config.trim_end_matches("f.toml"), ""));
}
