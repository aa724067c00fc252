//! Sources of credentials. They are never printed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use forgewatch::config;
use secrecy::ExposeSecret;

use crate::fixture::{ConfigFixture, with_flags};

#[test]
fn a_variable_that_is_not_utf8_is_reported_by_name() {
    let bad = OsString::from_vec(vec![0xff]);
    for name in ["FORGEWATCH_BASE_URL", "FORGEWATCH_OUTPUT"] {
        let credentials = ["FORGEWATCH_ACCESS_KEY", "FORGEWATCH_SECRET_KEY"];
        let credentials = credentials.map(|name| (name.into(), "x".into()));
        let bad = (name.into(), bad.clone());
        let env = credentials.into_iter().chain([bad]).collect();
        let error = config::load(&with_flags(&[]), &env).unwrap_err();
        assert_eq!(error.to_string(), format!("{name}: not valid UTF-8"));
    }
    let vars = ["FORGEWATCH_ACCESS_KEY", "FORGEWATCH_SECRET_KEY"];
    let env = vars
        .map(|name| (name.into(), bad.clone()))
        .into_iter()
        .collect();
    let error = config::credentials::find(None, &env).unwrap_err();
    assert_eq!(error.to_string(), "FORGEWATCH_ACCESS_KEY: not valid UTF-8");
}

#[test]
fn the_first_source_that_exists_is_used() {
    let fixture = ConfigFixture::new()
        .file("file", "from:file\n")
        .file_with_mode("systemd/clanforge", "from:systemd\n", 0o444);
    let systemd = fixture.path("systemd").to_str().unwrap().to_owned();
    let fixture = fixture.var("CREDENTIALS_DIRECTORY", systemd);
    let file = fixture.path("file");
    // base64 of from:systemd, from:file and a:canary
    for (fixture, file, basic) in [
        (&fixture, None, "Basic ZnJvbTpzeXN0ZW1k"),
        (&fixture, Some(&*file), "Basic ZnJvbTpmaWxl"),
        (
            &ConfigFixture::new().with_credentials(),
            Some(&*file),
            "Basic YTpjYW5hcnk=",
        ),
    ] {
        let (credentials, _) = config::credentials::find(file, &fixture.env()).unwrap();
        assert_eq!(credentials.basic().expose_secret(), basic);
    }
}

#[test]
fn invalid_credentials_are_reported_and_never_quoted() {
    let fixture = ConfigFixture::new()
        .var("FORGEWATCH_ACCOUNT_SERVICE_ID", "5")
        .file_with_mode("group", "a:canary\n", 0o640)
        .file_with_mode("world", "a:canary\n", 0o604)
        .file("empty", "")
        .file("no-colon", "canary\n")
        .file("no-secret", "canary:\n")
        .file("two-lines", "a:canary\na:canary\n")
        .file("latin1", b"a:canary\xfc\n")
        .file("long", format!("a:{}", "canary".repeat(1000)))
        .file("folder/x", "");
    let mut output = fixture.run(&["check", "--config", "/dev/null"]);
    for file in [
        "none",
        "a:canary",
        "folder",
        "group",
        "world",
        "empty",
        "no-colon",
        "no-secret",
        "two-lines",
        "latin1",
        "long",
    ] {
        let watch = ["watch", "--until-done", "--config", "/dev/null", "diff/1"];
        output += &fixture.run(&[&watch[..], &["--credentials-file", file]].concat());
    }
    for (access, secret) in [
        ("canary", ""),
        ("", "canary"),
        ("can:ary", "x"),
        ("a", "canary\n"),
    ] {
        let fixture = ConfigFixture::new()
            .var("FORGEWATCH_ACCOUNT_SERVICE_ID", "5")
            .var("FORGEWATCH_ACCESS_KEY", access)
            .var("FORGEWATCH_SECRET_KEY", secret);
        output += &fixture.run(&["check", "--config", "/dev/null"]);
    }
    assert!(!output.contains("canary"), "{output}");
    insta::assert_snapshot!("bad_credentials", output);
}
