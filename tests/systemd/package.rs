//! The Debian package: installed, configured, upgraded, removed and purged with the commands of `docs/install.md`.
//!
//! `FORGEWATCH_DEB` names the package to test, such as one of `packaging/release.sh`. Otherwise the test packs the same
//! staged files and maintainer scripts itself, because building cargo-deb takes minutes.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

use crate::fixture::{ACCESS, CONFIGURATION, MEMBER, SECRET, UNIT, script, write};
use crate::machine::{Machine, Overlay};
use crate::print_line;

/// The page's blocks of commands.
static RECIPES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let page = include_str!("../../docs/install.md");
    let blocks = page.split("```sh\n").skip(1);
    blocks.filter_map(|rest| rest.split("```").next()).collect()
});

/// The block with this text.
fn recipe(text: &str) -> &'static str {
    RECIPES.iter().find(|block| block.contains(text)).unwrap()
}

const OLD: &str = "0.1.0-1";
const NEW: &str = "0.2.0-1";
/// Stand in for the programs of a machine with people.
const SUDO: &str = "#!/bin/sh\nexec \"$@\"\n";
const EDITOR: &str = "#!/bin/sh\ncat /root/edited/\"${1##*/}\" >\"$1\"\n";

const JOBS: &str = r#"
    { job = "diff/1", duration = "1h" },
    { job = "diff/2", duration = "1ms" },
"#;

const SIMULATOR: &str = "\
[Service]
ExecStart=/usr/local/libexec/simulator simulate --script /etc/simulator.toml
";

const API: &str = "[api]\nbase_url = \"http://127.0.0.1:8080\"\naccount_service_id = 5678\n";

/// One delivery fails for good until a file exists, the other one is pending for ever.
const SETTINGS: &str = r#"
[schedule]
min_interval = "50ms"
max_interval = "500ms"

[[jobs]]
job = "diff/1"

[[jobs]]
job = "diff/2"

[[hooks]]
name = "once"
on = ["job.completed"]
run = ["/usr/bin/test", "-e", "/var/lib/forgewatch/may-deliver"]
retries = 0

[[hooks]]
name = "chat"
on = ["job.completed"]
webhook = "http://127.0.0.1:1/"
retries = 100
"#;

/// The service manager of an ordinary user, without PAM and logind.
const USER_MANAGER: &str = "\
[Service]
Type=notify
User=ann
Delegate=yes
Environment=XDG_RUNTIME_DIR=/run/ann
ExecStart=/lib/systemd/systemd --user
";

type Step = (&'static str, fn(&Machine));

const STEPS: &[Step] = &[
    ("install: neither enabled nor started", install),
    ("two edited files: ready", configure),
    ("upgrade: restarted, nothing lost", upgrade),
    ("a daemon of an ordinary user", ordinary_user),
    ("remove: stopped, state is kept", remove),
    ("purge: nothing is left", purge),
];

#[test]
fn the_package_is_installed_upgraded_and_purged_as_documented() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return print_line("skipped: dpkg-deb is not installed");
    }
    let overlay = Overlay::new();
    let root = overlay.root();
    build_packages(&root);
    for (path, text) in [
        ("etc/simulator.toml", script(JOBS).as_str()),
        ("etc/systemd/system/simulator.service", SIMULATOR),
        ("etc/systemd/system/users.service", USER_MANAGER),
    ] {
        write(&root.join(path), text, 0o644);
    }
    for (name, text) in [("sudo", SUDO), ("sudoedit", EDITOR), ("editor", EDITOR)] {
        write(&root.join("usr/local/bin").join(name), text, 0o755);
    }
    let simulator = root.join("usr/local/libexec/simulator");
    write(&simulator, "", 0o755);
    fs::copy(env!("CARGO_BIN_EXE_forgewatch"), &simulator).unwrap();
    let machine = match overlay.boot() {
        Ok(machine) => machine,
        Err(why) => return print_line(&format!("skipped: {why}")),
    };
    machine.ok(&["systemctl", "start", "simulator.service"]);
    // dpkg would index all man pages of the system after each step.
    machine.ok(&["rm", "-f", "/var/lib/man-db/auto-update"]);
    machine.ok(&["sh", "-c", &format!("{FILES} >/root/before")]);
    for (name, step) in STEPS {
        step(&machine);
        print_line(name);
    }
}

/// All files with our name in the folders of the system.
const FILES: &str = "find /etc /usr /var /run -name '*forgewatch*' | sort";

/// Writes the packages under the names that the page has.
fn build_packages(root: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    if let Some(package) = env::var_os("FORGEWATCH_DEB") {
        run(Command::new("dpkg-deb").arg("-R").arg(package).arg(&tree));
    } else {
        stage(&tree);
    }
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let version = text
        .lines()
        .find(|line| line.starts_with("Version: "))
        .unwrap();
    fs::create_dir_all(root.join("root")).unwrap();
    for number in [OLD, NEW] {
        fs::write(
            &control,
            text.replace(version, &format!("Version: {number}")),
        )
        .unwrap();
        let package = root.join(format!("root/forgewatch_{number}_amd64.deb"));
        let mut build = Command::new("dpkg-deb");
        build.args(["--root-owner-group", "-Znone", "--build"]);
        run(build.arg(&tree).arg(package));
    }
}

/// The content of a package, from the files that cargo-deb packs.
fn stage(tree: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let mut stage = Command::new(source.join("stage.sh"));
    run(stage.arg(tree).env("BIN", env!("CARGO_BIN_EXE_forgewatch")));
    let control = "Package: forgewatch\nVersion: 0\nArchitecture: all\nMaintainer: forgewatch\nDescription: a test\n";
    write(&tree.join("DEBIAN/control"), control, 0o644);
    write(
        &tree.join("DEBIAN/conffiles"),
        &format!("{CONFIGURATION}\n"),
        0o644,
    );
    for script in ["postinst", "prerm", "postrm"] {
        let text = fs::read_to_string(source.join("debian").join(script)).unwrap();
        write(&tree.join("DEBIAN").join(script), &text, 0o755);
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Runs commands of the page in /root, without a terminal for prompts. `who` is words before the shell.
fn follow(machine: &Machine, who: &[&str], recipe: &str) {
    let shell = ["env", "DEBIAN_FRONTEND=noninteractive", "sh", "-ec"];
    let commands = format!("cd /root\n{recipe}");
    machine.ok(&[who, &shell, &[&commands]].concat());
}

fn install(machine: &Machine) {
    follow(machine, &[], recipe(&format!("forgewatch_{OLD}")));
    assert_eq!(machine.property("UnitFileState"), "disabled");
    assert_eq!(machine.property("ActiveState"), "inactive");
    machine.ok(&["getent", "group", "forgewatch-ops"]);
    for path in [
        "/usr/share/man/man1/forgewatch.1.gz",
        "/usr/share/man/man5/forgewatch.toml.5.gz",
        "/usr/share/bash-completion/completions/forgewatch",
        "/usr/share/doc/forgewatch/changelog.gz",
        "/usr/share/doc/forgewatch/hooks-that-need-more.conf",
    ] {
        machine.ok(&["test", "-e", path]);
    }
}

fn configure(machine: &Machine) {
    machine.put(
        "/root/edited/forgewatch.toml",
        &format!("{API}{SETTINGS}"),
        "644",
    );
    machine.put(
        "/root/edited/credentials",
        &format!("{ACCESS}:{SECRET}\n"),
        "644",
    );
    machine.ok(&["useradd", "--create-home", MEMBER]);
    follow(machine, &[], recipe("usermod"));
    let groups = machine.ok(&["id", "--name", "--groups", MEMBER]);
    assert!(groups.contains("forgewatch-ops"), "{groups}");
    machine.await_property("StatusText", STATUS);
    let failed = |list: &str| list.contains("\"failed\"") && list.contains("\"pending\"");
    machine.until(&["forgewatch", "hooks", "list", "--json"], failed);
}

const STATUS: &str = "watching 1, unreachable 0, deliveries pending 1";

/// The values of these fields, of every object that the command prints.
fn values(machine: &Machine, command: &[&str], fields: &[&str]) -> Vec<String> {
    let printed = machine.ok(&[&["forgewatch"], command].concat());
    let lines = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let objects = lines.flat_map(|line: Value| match line {
        Value::Array(objects) => objects,
        object => vec![object],
    });
    let value = |object: Value| -> String {
        let values = fields.iter().map(|field| object[field].to_string());
        values.collect::<Vec<_>>().join(" ")
    };
    objects.map(value).collect()
}

fn upgrade(machine: &Machine) {
    let watches = |machine| {
        values(
            machine,
            &["list", "--all", "--json"],
            &["job", "watch", "outcome"],
        )
    };
    let deliveries = |machine| values(machine, &["hooks", "list", "--json"], &["id", "hook"]);
    let events = |machine| values(machine, &["events", "--json"], &["offset", "event_id"]);
    let before = (watches(machine), deliveries(machine), events(machine));
    assert_eq!((before.0.len(), before.1.len()), (2, 2), "{before:?}");
    let main = machine.property("MainPID");

    follow(machine, &[], recipe(&format!("forgewatch_{NEW}")));

    machine.await_new_process(&main);
    machine.await_property("StatusText", STATUS);
    let version = machine.ok(&[
        "dpkg-query",
        "--show",
        "--showformat=${Version}",
        "forgewatch",
    ]);
    assert_eq!(version, NEW);
    assert_eq!(machine.property("UnitFileState"), "enabled");
    assert_eq!(watches(machine), before.0);
    assert_eq!(deliveries(machine), before.1);
    let events: BTreeSet<String> = events(machine).into_iter().collect();
    let lost: Vec<&String> = before
        .2
        .iter()
        .filter(|event| !events.contains(*event))
        .collect();
    assert!(lost.is_empty() && events.len() > 3, "{lost:?}");

    // A delivery that had failed can still be made.
    machine.ok(&["touch", "/var/lib/forgewatch/may-deliver"]);
    let failed = before
        .1
        .iter()
        .find(|delivery| delivery.ends_with("\"once\""));
    let id = failed.unwrap().split('"').nth(1).unwrap();
    machine.ok(&["forgewatch", "hooks", "retry", id]);
    machine.until(&["forgewatch", "hooks", "list", "--json"], |list| {
        !list.contains(id)
    });
}

fn ordinary_user(machine: &Machine) {
    machine.ok(&["install", "-d", "-m", "700", "-o", MEMBER, "/run/ann"]);
    machine.ok(&["chmod", "755", "/root"]);
    machine.ok(&["systemctl", "start", "users.service"]);
    let user = [
        "setpriv",
        "--reuid",
        MEMBER,
        "--regid",
        MEMBER,
        "--init-groups",
    ];
    let session = ["env", "HOME=/home/ann", "XDG_RUNTIME_DIR=/run/ann"];
    let user = [&user[..], &session].concat();
    let settings = format!("{API}credentials_file = \"credentials\"\n[[jobs]]\njob = \"diff/1\"\n");
    machine.put("/root/edited/forgewatch.toml", &settings, "644");
    follow(machine, &user, recipe("systemctl --user enable"));
    let list = machine.ok(&[&user[..], &["forgewatch", "list", "--json"]].concat());
    assert!(
        list.contains("diff/1") && !list.contains("diff/2"),
        "{list}"
    );
    for words in [&["reload"][..], &["disable", "--now"]] {
        machine.ok(&[&user[..], &["systemctl", "--user"], words, &[UNIT]].concat());
    }
    machine.ok(&["test", "-e", "/home/ann/.local/state/forgewatch/state.db"]);
    machine.ok(&["systemctl", "stop", "users.service"]);
    machine.ok(&["rm", "-r", "/run/ann"]);
}

const STATE: &str = "/var/lib/private/forgewatch/state.db";

fn remove(machine: &Machine) {
    let (remove, _) = recipe("purge").split_once('\n').unwrap();
    follow(machine, &[], remove);
    machine.fails(&["pgrep", "--full", "forgewatch watch"]);
    machine.fails(&["test", "-e", "/usr/bin/forgewatch"]);
    for path in [STATE, CONFIGURATION, "/etc/forgewatch/credentials"] {
        machine.ok(&["test", "-e", path]);
    }
}

fn purge(machine: &Machine) {
    let (_, purge) = recipe("purge").split_once('\n').unwrap();
    follow(machine, &[], purge);
    let before = machine.ok(&["cat", "/root/before"]);
    assert_eq!(machine.ok(&["sh", "-c", FILES]), before);
    machine.fails(&["getent", "group", "forgewatch-ops"]);
}
