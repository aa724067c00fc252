//! A webhook whose URL is a secret.

use std::fs;

use super::{DaemonFixture, DaemonProcess, listed};
use crate::fixture::{TIMEOUT, files_below, job};
use crate::receiver::{receive, response_with};

/// Stands in the path of the receiver's URL.
const CANARY: &str = "canary-path";

#[test]
fn a_url_from_a_file_is_used_and_is_in_no_output_error_or_state() {
    // This receiver sends its address back, as PHP writes it.
    let echo = r#"{"error":"no channel at http:\/\/127.0.0.1\/canary-path, nor at /canary-path"}"#;
    let receiver = receive(vec![response_with("404 Not Found", echo)]);
    let fixture = DaemonFixture::new(&job("diff/1", ""), "");
    let sandbox = &fixture.sim.sandbox;
    sandbox.file("chat.url", format!("\u{feff}{}\r\n", receiver.url));
    let hook = "[[hooks]]\nname = 'chat'\non = ['job.completed']\nwebhook_file = 'chat.url'\nretries = 0\n";
    fixture.configure(&(listed("diff/1") + hook));
    let mut command = fixture.command();
    command.env("FORGEWATCH_LOG", "trace");
    let mut daemon = DaemonProcess::spawn(command);
    fixture.await_notice("READY=1");
    let failed = daemon.await_event("hook.failed", "");
    let error = failed["error_message"].as_str().unwrap();
    assert!(
        error.starts_with("HTTP 404; response: {") && error.contains("[redacted]"),
        "{error}"
    );
    let request = receiver.requests.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(request.head[0], format!("POST /{CANARY} HTTP/1.1"));

    let config = fixture.path("fw.toml").display().to_string();
    let mut seen = Vec::new();
    for args in [
        &["hooks", "list"][..],
        &["hooks", "list", "--json"],
        &["show", "diff/1", "--json"],
        &["events"],
        &["reload"],
        &["check", "--config", &config],
    ] {
        let done = fixture.client(args).expect(0);
        seen.push((args.join(" "), done.stdout + &done.stderr));
    }
    for (what, text) in &seen[..2] {
        assert!(text.contains("no channel at"), "{what}: {text}");
    }
    let (_, printed) = daemon.stop("TERM");
    seen.push(("the log".to_owned(), format!("{printed:?}")));
    for file in files_below(&fixture.path("")) {
        if file.ends_with("chat.url") || !file.is_file() {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        seen.push((file.display().to_string(), text));
    }
    for (what, text) in seen {
        assert!(!text.contains(CANARY), "{what} holds the URL");
    }
}

#[test]
fn a_url_file_is_as_private_as_a_file_with_a_key_and_never_quoted() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = DaemonFixture::new("", "");
    let hook = "[[hooks]]\nname = 'chat'\non = ['job.failed']\nwebhook_file = 'chat.url'\n";
    fixture.configure(hook);
    let url = "https://hooks.example.net/canary-path";
    for (text, mode, error) in [
        (url, 0o640, "chmod 600"),
        (url, 0o604, "chmod 600"),
        ("", 0o600, "invalid URL"),
        ("http://hooks.example.net/canary-path", 0o600, "https"),
        ("https://u:canary-path@hooks.example.net", 0o600, "password"),
        ("'https://hooks.example.net/canary-path'", 0o600, "a quote"),
        (
            "https://hooks.example.net/\u{200b}canary-path",
            0o600,
            "U+200B",
        ),
        (
            "https://a.example/canary-path\nhttps://b.example",
            0o600,
            "a line break",
        ),
    ] {
        let file = fixture.sim.sandbox.file("chat.url", text);
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let done = fixture.start_expecting_failure().expect(2);
        let said = &done.stderr;
        assert!(
            said.contains("hooks.webhook_file: ")
                && said.contains(error)
                && said.contains("fw.toml:"),
            "{text:?}: {said}"
        );
        assert!(!said.contains(CANARY), "{said}");
        fs::remove_file(file).unwrap();
    }
    let missing = fixture.start_expecting_failure().expect(2).stderr;
    assert!(
        missing.contains("chat.url: cannot read the file"),
        "{missing}"
    );

    fixture.sim.sandbox.file("chat.url", url);
    let leak = "[[hooks]]\nname = 'leak'\non = ['job.failed']\nrun = ['/bin/true']\n";
    let leak = format!("{leak}env = {{ CHAT = '{url}' }}\n");
    fixture.configure(&format!("{hook}{leak}"));
    let done = fixture.start_expecting_failure().expect(2);
    assert!(
        done.stderr.contains("CHAT holds a webhook's URL"),
        "{done:?}"
    );
    assert!(!done.stderr.contains(CANARY), "{done:?}");
}
