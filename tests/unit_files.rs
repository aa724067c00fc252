//! The files of `systemd/`: systemd accepts them, their documented exposure is correct, and installing and uninstalling
//! leave the right files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/skip.rs"]
mod skip;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use skip::skip;

const PROGRAM: &str = env!("CARGO_BIN_EXE_forgewatch");
/// The version whose exposure figures the files quote.
const QUOTED_VERSION: &str = "systemd 252 ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shipped(name: &str) -> String {
    fs::read_to_string(root().join("systemd").join(name)).unwrap()
}

/// None if `systemd-analyze` is not installed.
fn analyze(args: &[&str]) -> Option<Output> {
    let output = Command::new("systemd-analyze").args(args).output();
    if let Err(error) = &output {
        skip(&format!("systemd-analyze: {error}"));
    }
    output.ok()
}

/// Writes a unit that runs the tested program and returns its path.
fn write_unit(folder: &Path, text: &str) -> String {
    let path = folder.join("forgewatch.service");
    fs::write(&path, text.replace("/usr/bin/forgewatch", PROGRAM)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The exposure, such as `1.2`, of the unit with more lines in its `[Service]`.
fn exposure(more: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let text = shipped("forgewatch.service") + "\n[Service]\n" + more;
    let unit = write_unit(folder.path(), &text);
    let output = analyze(&["security", "--offline=true", &unit])?;
    let report = String::from_utf8(output.stdout).unwrap();
    let (_, figure) = report.rsplit_once("forgewatch.service: ").unwrap();
    Some(figure.split(' ').next().unwrap().to_owned())
}

#[test]
fn systemd_accepts_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let more =
        shipped("hooks-that-need-more.conf").replace("\n#ReadWritePaths", "\nReadWritePaths");
    for text in [
        shipped("forgewatch.service"),
        shipped("forgewatch.service") + &more,
        shipped("user/forgewatch.service"),
    ] {
        let unit = write_unit(folder.path(), &text);
        let Some(report) = analyze(&["verify", "--man=no", &unit]) else {
            return;
        };
        // It also loads units of this machine, which may have errors.
        let found = String::from_utf8_lossy(&report.stderr).contains("forgewatch");
        assert!(report.status.success() && !found, "{report:?}");
    }
}

#[test]
fn the_exposure_is_at_most_1_2() {
    let folder = tempfile::tempdir().unwrap();
    let unit = write_unit(folder.path(), &shipped("forgewatch.service"));
    if let Some(report) = analyze(&["security", "--offline=true", "--threshold=12", &unit]) {
        assert!(report.status.success(), "{report:?}");
    }
}

#[test]
fn the_drop_in_states_the_exposure_of_each_setting() {
    match analyze(&["--version"]) {
        None => return,
        Some(version) if !version.stdout.starts_with(QUOTED_VERSION.as_bytes()) => {
            return skip(&format!("the figures are of {QUOTED_VERSION}"));
        }
        Some(_) => {}
    }
    let text = shipped("hooks-that-need-more.conf");
    let mut figures = 0;
    for paragraph in text.split("\n\n") {
        let setting = |line: &&str| line.contains('=') && !line.starts_with("# ");
        let lines: Vec<&str> = paragraph.lines().filter(setting).collect();
        if lines.is_empty() {
            continue;
        }
        let comment = paragraph
            .lines()
            .rfind(|line| line.starts_with("# "))
            .unwrap();
        let documented = comment.rsplit(' ').next();
        let more: String = lines
            .iter()
            .map(|line| line.trim_start_matches('#').to_owned() + "\n")
            .collect();
        assert_eq!(exposure(&more).as_deref(), documented, "{paragraph}");
        figures += 1;
    }
    assert!(figures > 5, "{figures}");
    let (_, all) = text.split_once("[Service]").unwrap();
    let all = exposure(all).unwrap();
    assert!(text.contains(&format!("with all of this {all}.")), "{all}");
}

#[test]
fn the_unit_has_the_documented_settings() {
    let unit = shipped("forgewatch.service");
    let lines: BTreeSet<&str> = unit.lines().collect();
    for line in [
        "Type=notify",
        "Environment=FORGEWATCH_CONFIG=/etc/forgewatch/forgewatch.toml",
        "ExecStart=/usr/bin/forgewatch watch",
        "ExecReload=/usr/bin/forgewatch reload",
        "KillMode=mixed",
        "DynamicUser=yes",
        "Group=forgewatch-ops",
        "LoadCredential=clanforge:/etc/forgewatch/credentials",
        "StateDirectory=forgewatch",
        "RuntimeDirectory=forgewatch",
        "RestartPreventExitStatus=2 78 243",
        "LimitCORE=0",
    ] {
        assert!(lines.contains(line), "missing: {line}");
    }
    assert!(
        !unit.contains("\nPrivateUsers="),
        "clients' users must be visible"
    );
    assert!(shipped("forgewatch.sysusers").contains("g forgewatch-ops -"));
}

/// All files below a directory, by relative path.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found
}

/// Runs `install.sh` with `folder` as DESTDIR.
fn install(folder: &Path, action: &str, prefix: &str) {
    let output = Command::new(root().join("systemd/install.sh"))
        .arg(action)
        .env("DESTDIR", folder)
        .env("PREFIX", prefix)
        .env("BIN", PROGRAM)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_installation_is_complete_and_uninstalling_keeps_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "install", "/usr");
    let found = files(folder.path());
    for path in [
        "etc/forgewatch/forgewatch.toml",
        "usr/bin/forgewatch",
        "usr/lib/systemd/system/forgewatch.service",
        "usr/lib/systemd/catalog/forgewatch.catalog",
        "usr/lib/systemd/user/forgewatch.service",
        "usr/lib/sysusers.d/forgewatch.conf",
        "usr/share/bash-completion/completions/forgewatch",
        "usr/share/doc/forgewatch/hooks-that-need-more.conf",
        "usr/share/doc/forgewatch/schema/config.json",
        "usr/share/fish/vendor_completions.d/forgewatch.fish",
        "usr/share/man/man1/forgewatch.1",
        "usr/share/man/man5/forgewatch.toml.5",
        "usr/share/man/man7/forgewatch-events.7",
        "usr/share/man/man7/forgewatch-hooks.7",
        "usr/share/zsh/site-functions/_forgewatch",
    ] {
        assert!(found.contains(Path::new(path)), "{path}: {found:?}");
    }

    let configuration = folder.path().join("etc/forgewatch/forgewatch.toml");
    fs::write(&configuration, "# mine\n").unwrap();
    install(folder.path(), "install", "/usr");
    assert_eq!(fs::read_to_string(&configuration).unwrap(), "# mine\n");

    install(folder.path(), "uninstall", "/usr");
    let left = BTreeSet::from([PathBuf::from("etc/forgewatch/forgewatch.toml")]);
    assert_eq!(files(folder.path()), left);
}

#[test]
fn with_another_prefix_the_unit_runs_the_installed_program() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "install", "/usr/local");
    let unit = folder
        .path()
        .join("usr/local/lib/systemd/system/forgewatch.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("\nExecStart=/usr/local/bin/forgewatch watch\n"));
    assert!(unit.contains("\nExecReload=/usr/local/bin/forgewatch reload\n"));
    install(folder.path(), "uninstall", "/usr/local");
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn a_package_has_what_distributions_require() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(root().join("packaging/stage.sh"))
        .arg(folder.path().join("stage"))
        .env("BIN", PROGRAM)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let found = files(&folder.path().join("stage"));
    for path in [
        "etc/forgewatch/forgewatch.toml",
        "usr/bin/forgewatch",
        "usr/share/doc/forgewatch/changelog.Debian.gz",
        "usr/share/doc/forgewatch/changelog.gz",
        "usr/share/man/man1/forgewatch.1.gz",
        "usr/share/man/man5/forgewatch.toml.5.gz",
        "usr/share/man/man7/forgewatch-events.7.gz",
    ] {
        assert!(found.contains(Path::new(path)), "{path}: {found:?}");
    }
    // The packages take these folders.
    let packed = ["etc/", "usr/bin/forgewatch", "usr/lib/", "usr/share/"];
    for path in found {
        let path = path.to_str().unwrap();
        assert!(packed.iter().any(|start| path.starts_with(start)), "{path}");
    }
    let text = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let (license, copyright) = (text("LICENSE-MIT"), text("packaging/debian/copyright"));
    for paragraph in license.split("\n\n").skip(2) {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        let copied: Vec<&str> = copyright.split_whitespace().collect();
        assert!(
            copied.windows(words.len()).any(|window| window == words),
            "{paragraph}"
        );
    }
}
