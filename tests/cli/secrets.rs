//! Secrets leave the process in the Authorization header only.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

use crate::fixture::{
    CliCommand, CliOutput, Sandbox, SimFixture, TIMEOUT, faulty, files_below, job,
};
use crate::tls::Authority;

/// Keys that look different in every encoding.
pub(crate) const ACCESS: &str = "CanaryAccess/7+x";
pub(crate) const SECRET: &str = "CanarySecret=&9/z?";

/// A script whose server accepts these keys.
pub(crate) fn script(jobs: &str) -> String {
    format!("access_key = '{ACCESS}'\nsecret_key = '{SECRET}'\n{jobs}")
}

/// Every encoding in which a key could leak.
fn forms() -> Vec<String> {
    let percent = |text: &str| {
        let byte = |b: u8| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        };
        text.bytes().map(byte).collect::<String>()
    };
    let hex = |text: &str| {
        let bytes: Vec<String> = text.bytes().map(|b| format!("{b:02x}")).collect();
        bytes.concat()
    };
    let pair = format!("{ACCESS}:{SECRET}");
    let mut forms = Vec::new();
    for text in [ACCESS, SECRET, &pair] {
        forms.push(text.to_owned());
        forms.push(BASE64_STANDARD.encode(text));
        forms.push(BASE64_URL_SAFE_NO_PAD.encode(text));
        forms.push(hex(text));
        forms.push(hex(text).to_uppercase());
        forms.push(percent(text));
        forms.push(percent(text).to_lowercase());
        // As `{:?}` of bytes prints it.
        forms.push(format!("{:?}", text.as_bytes()));
    }
    forms
}

#[track_caller]
pub(crate) fn assert_clean(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text).into_owned();
    let unescaped = text.replace("\\/", "/");
    for form in forms() {
        assert!(
            !text.contains(&form) && !unescaped.contains(&form),
            "{what} holds {form:?}:\n{text}"
        );
    }
}

/// Runs the program with the keys in every output mode and checks everything it leaves behind.
#[track_caller]
fn assert_keeps_secrets(sandbox: &Sandbox, program: impl Fn() -> CliCommand) -> Vec<CliOutput> {
    let mut all = Vec::new();
    for output in ["json", "text", "quiet", "progress"] {
        let program = program()
            .env("FORGEWATCH_ACCESS_KEY", ACCESS)
            .env("FORGEWATCH_SECRET_KEY", SECRET)
            .env("FORGEWATCH_LOG", "trace")
            .env("FORGEWATCH_OUTPUT", output)
            .env("RUST_BACKTRACE", "1");
        let running = program.start();
        if let Ok(arguments) = fs::read(format!("/proc/{}/cmdline", running.pid())) {
            assert_clean("the command line", &arguments);
        }
        let done = running.wait();
        assert_clean("standard output", done.stdout.as_bytes());
        assert_clean("standard error", done.stderr.as_bytes());
        for folder in ["home", "cache", "config"] {
            for file in files_below(&sandbox.path(folder)) {
                assert_clean(&file.display().to_string(), &fs::read(&file).unwrap());
            }
        }
        all.push(done);
    }
    // Without tracing the test would prove nothing.
    assert!(
        all[0].stdout.contains("TRACE") || all[0].status == 2,
        "{all:?}"
    );
    all
}

#[test]
fn the_searched_encodings_contain_the_sent_one() {
    let sent = BASE64_STANDARD.encode(format!("{ACCESS}:{SECRET}"));
    assert!(forms().contains(&sent));
    assert!(forms().contains(&"CanarySecret%3D%269%2Fz%3F".to_owned()));
}

#[test]
fn a_successful_watch_leaks_no_secret() {
    let fixture = SimFixture::new(&script(&job("diff/1", "files = { added = 1 }")));
    let done = assert_keeps_secrets(&fixture.sandbox, || fixture.watch(&["diff/1"]));
    assert!(done.iter().all(|done| done.status == 0), "{done:?}");
    let sent = format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{ACCESS}:{SECRET}"))
    );
    assert_eq!(
        fixture.requests_for("diff/1")[0].header("authorization"),
        Some(&*sent)
    );
}

#[test]
fn keys_echoed_by_the_server_are_redacted() {
    let pair = BASE64_STANDARD.encode(format!("{ACCESS}:{SECRET}"));
    let echo = format!("no user {ACCESS} with {SECRET} (Authorization: Basic {pair})");
    let envelope = format!(
        "{{\"success\":false,\"error\":true,\"error_code\":1,\"error_message\":\"{echo}\"}}"
    );
    for fault in [
        format!("status = 401\nbody = '{envelope}'"),
        format!("status = 500\nbody = '{envelope}'"),
        format!("envelope = {{ message = '{echo}' }}"),
        format!("body = '{echo}'"),
        format!("redirect = 'http://{pair}.example/'"),
        "redirect = 'http://CanaryAccess%2F7+x:CanarySecret%3D%269%2Fz%3F@127.0.0.1:1/'".to_owned(),
    ] {
        let fixture = SimFixture::new(&script(&faulty("diff/1", "1-", &fault)));
        assert_keeps_secrets(&fixture.sandbox, || {
            fixture.watch(&["--give-up-after", "100ms", "diff/1"])
        });
    }
}

#[test]
fn keys_echoed_in_a_job_error_are_redacted() {
    let error = format!("curl -u {ACCESS}:{SECRET} failed");
    let jobs = job(
        "diff/1",
        &format!("ending = 'failed'\nerror = '{error}'\nmachine = '{SECRET}'"),
    );
    let fixture = SimFixture::new(&script(&jobs));
    let done = assert_keeps_secrets(&fixture.sandbox, || fixture.watch(&["diff/1"]));
    let end = done[0].end_of("diff/1");
    let error = end["error_message"].as_str().unwrap();
    assert!(
        error.starts_with("curl -u ") && error.ends_with(" failed"),
        "{error}"
    );
}

#[test]
fn a_failed_tls_handshake_leaks_no_secret() {
    // A server without TLS.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            let _ = stream.read(&mut [0; 16 * 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let sandbox = Sandbox::new();
    let base = format!("https://localhost:{port}");
    let done = assert_keeps_secrets(&sandbox, || {
        sandbox.watch_at(&base, &["--give-up-after", "100ms", "diff/1"])
    });
    let end = done[0].end_of("diff/1");
    assert_eq!(end["error_kind"], "tls", "{end}");
}

#[test]
fn http2_over_tls_leaks_no_secret() {
    let ca = Authority::new();
    let server = ca.server("localhost", |_| {}, &["h2"]);
    let sandbox = Sandbox::new();
    let done = assert_keeps_secrets(&sandbox, || server.watch(&sandbox, "localhost", Some(&ca)));
    assert!(done.iter().all(|done| done.status == 0), "{done:?}");
    assert!(
        done[0].stdout.contains("\"target\":\"h2"),
        "HTTP/2 was traced"
    );
}

#[test]
fn an_invalid_configuration_leaks_no_secret() {
    let sandbox = Sandbox::new();
    let pair = format!("{ACCESS}:{SECRET}");
    // Keys in places of the file where they do not belong.
    let config = sandbox.file(
        "f.toml",
        format!("[api]\nbase_url = 'https://{pair}@example.net'\naccess_key = '{ACCESS}'\nsecret_key = '{SECRET}'\n"),
    );
    let config = config.to_str().unwrap();
    let done = assert_keeps_secrets(&sandbox, || {
        sandbox.watch_at("https://x.invalid", &["--config", config, "diff/1"])
    });
    assert!(done.iter().all(|done| done.status == 2), "{done:?}");
    let url = format!("https://{pair}@example.net");
    let check = || sandbox.program(&["check"]).env("FORGEWATCH_BASE_URL", &url);
    assert_eq!(assert_keeps_secrets(&sandbox, check)[0].status, 2);
}

#[test]
fn check_leaks_no_secret_online_or_offline() {
    for fault in [
        "status = 401",
        "date_offset = '0s'",
        "redirect = 'http://127.0.0.1:1'",
    ] {
        let fixture = SimFixture::new(&script(&faulty("diff/1", "1-", fault)));
        let config = format!(
            "[api]\nbase_url = '{}'\naccount_service_id = 5678\n[[jobs]]\njob = 'diff/1'\n",
            fixture.server.base_url()
        );
        let config = fixture.sandbox.file("f.toml", config);
        for online in [&[][..], &["--online"]] {
            for log in ["trace", ""] {
                let args = [&["check", "--config", config.to_str().unwrap()], online].concat();
                let done = fixture
                    .sandbox
                    .program(&args)
                    .env("FORGEWATCH_ACCESS_KEY", ACCESS)
                    .env("FORGEWATCH_SECRET_KEY", SECRET)
                    .env("FORGEWATCH_LOG", log)
                    .run();
                assert_clean("standard output", done.stdout.as_bytes());
                assert_clean("standard error", done.stderr.as_bytes());
            }
        }
    }
}
