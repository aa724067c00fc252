//! The section `[http]`: errors, access, reload.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::{HttpFixture, TOKEN, bearer};

#[test]
fn an_address_in_use_ends_the_startup_with_its_name() {
    let fixture = HttpFixture::new("", "");
    let other = TcpListener::bind(("127.0.0.1", fixture.port)).unwrap();
    let output = fixture.daemon.start_expecting_failure().expect(1);
    let port = fixture.port;
    let expected =
        format!("http.listen: 127.0.0.1:{port} is in use by another program; stop it, or");
    assert!(output.stderr.contains(&expected), "{output:?}");
    drop(other);
    let daemon = fixture.start();
    fixture.get("/-/healthy").expect(200);
    daemon.stop("TERM");
    // The socket was removed, so that nothing blocks the next start.
    fixture.start();
}

#[test]
fn every_error_of_the_section_is_reported_at_its_place() {
    let fixture = HttpFixture::new("", "");
    fixture.token_file("short", "abc");
    fixture.token_file("empty", "\n");
    fixture.token_file("shared", TOKEN);
    fs::set_permissions(fixture.daemon.path("shared"), Permissions::from_mode(0o640)).unwrap();
    for (section, line, expected) in [
        (
            "listen = '0.0.0.0:1'",
            2,
            "http.listen: other machines reach 0.0.0.0:1",
        ),
        (
            "listen = '[::]:1'",
            2,
            "http.listen: other machines reach [::]:1",
        ),
        (
            "listen = 'localhost:1'",
            2,
            "http.listen: expected an IP address and a port",
        ),
        (
            "listen = '127.0.0.1'",
            2,
            "http.listen: expected an IP address and a port",
        ),
        (
            "listen = '127.0.0.1:99999'",
            2,
            "http.listen: expected an IP address and a port",
        ),
        (
            "listen = '127.0.0.1:1'\nallow_remote = true",
            3,
            "http.allow_remote: needs a token",
        ),
        (
            "hosts = ['http://build01']",
            2,
            "http.hosts: invalid host \"http://build01\"",
        ),
        ("hosts = ['*.example.net']", 2, "http.hosts: invalid host"),
        ("hosts = ['build01:']", 2, "http.hosts: invalid host"),
        (
            "token_files = ['nowhere']",
            2,
            "nowhere: cannot read the file",
        ),
        (
            "token_files = ['shared']",
            2,
            "shared: accessible to users other than its owner (mode 0640)",
        ),
        (
            "token_files = ['empty']",
            2,
            "empty: empty; expected one line with a token",
        ),
        (
            "token_files = ['short']",
            2,
            "short: shorter than 32 characters",
        ),
        (
            "token_file = 'token'",
            2,
            "unknown key \"token_file\"; did you mean token_files?",
        ),
    ] {
        let file = fixture.daemon.sim.sandbox.file(
            "bad.toml",
            format!("[http]\n{section}\n[api]\naccount_service_id = 1\n"),
        );
        let file = file.to_str().unwrap();
        for command in [
            &["check", "--config", file][..],
            &["watch", "--config", file],
        ] {
            let output = fixture.daemon.sim.sandbox.program(command).run().expect(2);
            let place = format!("bad.toml:{line}:");
            let is_reported = |line: &str| line.contains(&place) && line.contains(expected);
            assert!(
                output.stderr.lines().any(is_reported),
                "{section}: {output:?}"
            );
        }
    }
}

#[test]
fn a_reload_replaces_hosts_and_tokens_but_not_the_address() {
    let fixture = HttpFixture::new("", "");
    let daemon = fixture.start();
    let host = |name: &str| {
        fixture
            .exchange(format!(
                "GET /api/v1/status HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
            ))
            .status
    };
    let port = fixture.port;
    assert_eq!(host("build01"), 421);
    assert_eq!(host(&format!("localhost:{port}")), 200);
    let next = "f".repeat(40);
    fixture.token_file("next", &next);
    fixture.configure(
        "hosts = ['build01']\ntoken_files = ['next', 'token']\nallow_remote = true",
        "",
    );
    fixture.daemon.client(&["reload"]).expect(0);
    assert_eq!(host("build01"), 401);
    for token in [TOKEN, &next] {
        fixture
            .request("GET", "/api/v1/jobs", &bearer(token), "")
            .expect(200);
    }
    fixture.configure("hosts = ['build01']\ntoken_files = ['next']\n", "");
    fixture.daemon.client(&["reload"]).expect(0);
    assert_eq!(host("build01"), 200);

    let moved = format!("[http]\nlisten = '127.0.0.1:{}'\n", port ^ 1);
    fixture.daemon.configure(&moved);
    let output = fixture.daemon.client(&["reload"]).expect(1);
    let expected = format!("http.listen: 127.0.0.1:{port} stays in use");
    assert!(output.stderr.contains(&expected), "{output:?}");
    fixture.daemon.configure("");
    let output = fixture.daemon.client(&["reload"]).expect(1);
    assert!(
        output
            .stderr
            .contains("changing it to no listener needs a restart"),
        "{output:?}"
    );
    drop(daemon);
}

#[test]
fn with_allow_remote_only_probes_need_no_token() {
    let fixture = HttpFixture::new("", "allow_remote = true");
    let _daemon = fixture.start();
    for path in ["/-/healthy", "/-/ready"] {
        fixture.get(path).expect(200);
    }
    let bearer_challenge = "bearer realm=\"forgewatch\"";
    for (path, challenge) in [
        ("/api/v1/jobs", bearer_challenge),
        ("/api/v1/status", bearer_challenge),
        ("/api/v1/openapi.json", bearer_challenge),
        // A browser prompts for a password.
        ("/", "basic realm=\"forgewatch\", charset=\"utf-8\""),
        ("/nowhere", bearer_challenge),
    ] {
        let response = fixture.get(path).expect(401);
        assert_eq!(response.header("www-authenticate"), Some(challenge));
        let wrong = fixture
            .request("GET", path, &bearer(&"0".repeat(32)), "")
            .expect(401);
        assert!(
            !wrong.body.contains(TOKEN) && !wrong.body.contains(&"0".repeat(32)),
            "{wrong:?}"
        );
    }
    fixture.send("GET", "/api/v1/jobs", "").expect(200);
    fixture.send("GET", "/nowhere", "").expect(404);
    // A browser sends the password with requests of other sites, too, so it changes nothing.
    let password = BASE64_STANDARD.encode(format!("ann:{TOKEN}"));
    let password = format!("Authorization: Basic {password}\r\n");
    fixture.request("GET", "/", &password, "").expect(200);
    let reload = fixture.request("POST", "/api/v1/reload", &password, "");
    reload.expect(401);
}
