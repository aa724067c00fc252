//! Sources of credentials. They are never printed.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use forgewatch::config;
use secrecy::ExposeSecret;

use crate::fixture::{ConfigFixture, with_flags};
use crate::skip::skip;

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
fn marks_and_line_ends_around_a_key_are_removed() {
    let fixture = ConfigFixture::new()
        .file("bom", "\u{feff}a:canary\r\n\r\n")
        .file_with_mode("systemd/clanforge", "\u{feff}a:canary", 0o444);
    let systemd = fixture.path("systemd").to_str().unwrap().to_owned();
    let variables = ConfigFixture::new()
        .var("FORGEWATCH_ACCESS_KEY", "\u{feff}a\n")
        .var("FORGEWATCH_SECRET_KEY", "canary\r\n");
    let bom = fixture.path("bom");
    let fixture = fixture.var("CREDENTIALS_DIRECTORY", systemd);
    for (fixture, file) in [
        (&fixture, Some(&*bom)),
        (&fixture, None),
        (&variables, None),
    ] {
        let (credentials, _) = config::credentials::find(file, &fixture.env()).unwrap();
        assert_eq!(credentials.basic().expose_secret(), "Basic YTpjYW5hcnk=");
    }
}

/// As Kubernetes mounts secrets with `fsGroup`.
#[test]
fn a_secret_of_root_may_be_shared_with_our_group() {
    if !rustix::process::geteuid().is_root() {
        skip("needs root to run as another user");
        return;
    }
    let key = format!("whsec_{}\n", "BwcH".repeat(8));
    let fixture = ConfigFixture::new()
        .file("credentials", "a:canary\n")
        .file("webhook.secret", key)
        .file(
            "f.toml",
            "[api]\naccount_service_id = 5\ncredentials_file = 'credentials'\n\
             [[hooks]]\nname = 'x'\non = ['job.failed']\nwebhook = 'https://hooks.example.net'\n\
             secret_files = ['webhook.secret']\n",
        );
    let program = fixture.path("forgewatch");
    fs::copy(env!("CARGO_BIN_EXE_forgewatch"), &program).unwrap();
    for (path, mode) in [("", 0o755), ("f.toml", 0o644), ("forgewatch", 0o755)] {
        fs::set_permissions(fixture.path(path), Permissions::from_mode(mode)).unwrap();
    }
    let check = |owner: u32, mode: u32, groups: &str| {
        for secret in ["credentials", "webhook.secret"] {
            chown(fixture.path(secret), Some(owner), Some(4712)).unwrap();
            fs::set_permissions(fixture.path(secret), Permissions::from_mode(mode)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=4711", "--regid=4711", groups, "--"])
            .arg(&program)
            .args(["check", "--config", "f.toml"])
            .current_dir(&fixture.folder);
        let done = command.output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    for mode in [0o440, 0o640] {
        assert_eq!(
            check(0, mode, "--groups=4713,4712"),
            (Some(0), String::new())
        );
    }
    for (owner, mode, groups) in [
        (4711, 0o440, "--groups=4712"),
        (0, 0o444, "--groups=4712"),
        (0, 0o460, "--groups=4712"),
        (0, 0o444, "--clear-groups"),
    ] {
        let (status, errors) = check(owner, mode, groups);
        assert_eq!(status, Some(2));
        assert_eq!(errors.matches("chmod 600").count(), 2, "{errors}");
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
        .file("utf16", b"\xff\xfea\0:\0c\0a\0n\0a\0r\0y\0\n\0")
        .file("quoted", "\"a:canary\"\n")
        .file("blank", "a: canary\n")
        .file("no-break", "a:can\u{a0}ary\n")
        .file("invisible", "a\u{200b}:canary\n")
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
        "utf16",
        "quoted",
        "blank",
        "no-break",
        "invisible",
        "long",
    ] {
        let watch = ["watch", "--until-done", "--config", "/dev/null", "diff/1"];
        output += &fixture.run(&[&watch[..], &["--credentials-file", file]].concat());
    }
    for (access, secret) in [
        ("canary", ""),
        ("", "canary"),
        ("can:ary", "x"),
        ("a", "can\nary"),
        ("a", "canary "),
        ("'a'", "canary"),
        ("a", "can\u{a0}ary"),
        ("\u{2018}a", "canary"),
        ("a", "\u{feff}\r\n"),
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
