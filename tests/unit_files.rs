//! What `systemd/` ships: that systemd takes it, that it is as closed as it claims to be, and that installing and
//! uninstalling leave what they should.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/skip.rs"]
mod skip;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use skip::skip;

const PROGRAM: &str = env!("CARGO_BIN_EXE_forgewatch");
/// Whose figures the files quote; another version may weigh otherwise.
const QUOTED: &str = "systemd 252 ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shipped(name: &str) -> String {
    fs::read_to_string(root().join("systemd").join(name)).unwrap()
}

/// What `systemd-analyze` says; None where it is not there.
fn analyze(args: &[&str]) -> Option<Output> {
    let output = Command::new("systemd-analyze").args(args).output();
    if let Err(error) = &output {
        skip(&format!("systemd-analyze: {error}"));
    }
    output.ok()
}

/// Writes a unit that runs the program built here, for `systemd-analyze` to read.
fn unit_in(folder: &Path, text: &str) -> String {
    let path = folder.join("forgewatch.service");
    fs::write(&path, text.replace("/usr/bin/forgewatch", PROGRAM)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The exposure of the unit with more lines for its `[Service]`, as text such as `1.2`.
fn exposure(more: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let text = shipped("forgewatch.service") + "\n[Service]\n" + more;
    let unit = unit_in(folder.path(), &text);
    let output = analyze(&["security", "--offline=true", &unit])?;
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, figure) = said.rsplit_once("forgewatch.service: ").unwrap();
    Some(figure.split(' ').next().unwrap().to_owned())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let more =
        shipped("hooks-that-need-more.conf").replace("\n#ReadWritePaths", "\nReadWritePaths");
    for text in [
        shipped("forgewatch.service"),
        shipped("forgewatch.service") + &more,
    ] {
        let unit = unit_in(folder.path(), &text);
        let Some(said) = analyze(&["verify", "--man=no", &unit]) else {
            return;
        };
        // Units of the machine that it loads on the way may have faults of their own.
        let found = String::from_utf8_lossy(&said.stderr).contains("forgewatch");
        assert!(said.status.success() && !found, "{said:?}");
    }
}

#[test]
fn its_exposure_is_1_2_or_lower() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit_in(folder.path(), &shipped("forgewatch.service"));
    if let Some(said) = analyze(&["security", "--offline=true", "--threshold=12", &unit]) {
        assert!(said.status.success(), "{said:?}");
    }
}

#[test]
fn what_loosening_costs_is_what_the_drop_in_says() {
    match analyze(&["--version"]) {
        None => return,
        Some(version) if !version.stdout.starts_with(QUOTED.as_bytes()) => {
            return skip(&format!("the figures are of {QUOTED}"));
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
        let said = comment.rsplit(' ').next();
        let more: String = lines
            .iter()
            .map(|line| line.trim_start_matches('#').to_owned() + "\n")
            .collect();
        assert_eq!(exposure(&more).as_deref(), said, "{paragraph}");
        figures += 1;
    }
    assert!(figures > 5, "{figures}");
    let (_, all) = text.split_once("[Service]").unwrap();
    let all = exposure(all).unwrap();
    assert!(text.contains(&format!("with all of this {all}.")), "{all}");
}

#[test]
fn the_unit_starts_reloads_ends_and_restarts_the_daemon_as_the_documentation_says() {
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
        assert!(lines.contains(line), "{line} is not in the unit");
    }
    assert!(!unit.contains("\nPrivateUsers="), "peers must be known");
    assert!(shipped("forgewatch.sysusers").contains("g forgewatch-ops -"));
}

/// Every file below a folder, by its path from there.
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

/// `install.sh` with a folder for `/`.
fn install(folder: &Path, what: &str, prefix: &str) {
    let output = Command::new(root().join("systemd/install.sh"))
        .arg(what)
        .env("DESTDIR", folder)
        .env("PREFIX", prefix)
        .env("BIN", PROGRAM)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_installation_is_whole_and_uninstalling_leaves_what_somebody_wrote() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "install", "/usr");
    let found = files(folder.path());
    for path in [
        "etc/forgewatch/forgewatch.toml",
        "usr/bin/forgewatch",
        "usr/lib/systemd/system/forgewatch.service",
        "usr/lib/sysusers.d/forgewatch.conf",
        "usr/share/bash-completion/completions/forgewatch",
        "usr/share/doc/forgewatch/hooks-that-need-more.conf",
        "usr/share/fish/vendor_completions.d/forgewatch.fish",
        "usr/share/man/man1/forgewatch.1",
        "usr/share/man/man5/forgewatch.toml.5",
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
fn below_another_prefix_the_unit_runs_the_program_that_was_installed() {
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
