//! The static program of a release as process 1 of an ordinary user, in a directory without any other program or library,
//! and on Debian 11: name lookups, TLS and the state file work.
//!
//! `FORGEWATCH_STATIC` names the program, `FORGEWATCH_DEBIAN_11` the root of a Debian 11. `.ci/long` sets both.

use std::env;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::fixture::Sandbox;
use crate::hook_supervisor::skip::skip;
use crate::tls::{Authority, TlsServer};

const NAME: &str = "api.clanforge.test";
/// A loopback address on which no other name server listens.
const NAME_SERVER: &str = "127.53.0.1";
const USER: u32 = 65_532;
const MAX_SIZE: u64 = 10_000_000;

fn static_program() -> Option<PathBuf> {
    let program = env::var_os("FORGEWATCH_STATIC").map(PathBuf::from);
    if program.is_none() {
        skip("FORGEWATCH_STATIC does not name a static program");
    }
    program
}

/// Responds to every request for an IPv4 address with 127.0.0.1, and that there is no other address.
fn serve_names() {
    let socket = UdpSocket::bind((NAME_SERVER, 53)).unwrap();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let name_ends = 12
                + query[12..length]
                    .iter()
                    .position(|byte| *byte == 0)
                    .unwrap();
            let question = &query[12..name_ends + 5];
            let is_ipv4 = question[question.len() - 4..] == [0, 1, 0, 1];
            let mut response = query[..2].to_vec();
            response.extend([0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
            response.extend(question);
            if is_ipv4 {
                response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
            }
            socket.send_to(&response, from).unwrap();
        }
    });
}

/// Adds the program and what it needs to watch the server.
fn add_files(root: &Path, program: &Path, authority: &Authority) {
    for name in ["usr/bin", "etc", "proc", "state"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy(program, root.join("usr/bin/forgewatch")).unwrap();
    let resolver = format!("nameserver {NAME_SERVER}\n");
    fs::write(root.join("etc/resolv.conf"), resolver).unwrap();
    fs::write(root.join("ca.pem"), authority.pem()).unwrap();
    let config = "[api]\nca_file = '/ca.pem'\naccount_service_id = 1\n";
    fs::write(root.join("f.toml"), config).unwrap();
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(root.join("state"), private).unwrap();
    chown(root.join("state"), Some(USER), Some(USER)).unwrap();
}

/// Watches a job of the server to its end, as process 1 with `root` as its root.
fn watch(root: &Path, server: &TlsServer, more: &[&str]) {
    let base_url = format!("https://{NAME}:{}", server.addr.port());
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--mount-proc", "--root"])
        .arg(root)
        .args([&format!("--setgid={USER}"), &format!("--setuid={USER}")])
        .args(["/usr/bin/forgewatch", "watch", "--until-done", "diff/1"])
        .args(["--base-url", &base_url, "--config", "/f.toml"])
        .args(["--state", "/state/state.db", "--give-up-after", "10s"])
        .args(more)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("FORGEWATCH_ACCESS_KEY", "sim")
        .env("FORGEWATCH_SECRET_KEY", "sim")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let state = fs::metadata(root.join("state/state.db")).unwrap();
    assert!(state.len() > 0, "no state");
}

#[test]
fn the_static_program_runs_in_an_empty_directory_and_on_debian_11() {
    let Some(program) = static_program() else {
        return;
    };
    let size = fs::metadata(&program).unwrap().len();
    assert!(size < MAX_SIZE, "{size} bytes");
    serve_names();
    let authority = Authority::new();
    let server = authority.server(NAME, |_| {}, &["http/1.1"]);
    let sandbox = Sandbox::new();
    let empty = sandbox.path("root");
    add_files(&empty, &program, &authority);
    fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    watch(&empty, &server, &[]);

    match env::var_os("FORGEWATCH_DEBIAN_11").map(PathBuf::from) {
        Some(root) => {
            add_files(&root, &program, &authority);
            let _ = fs::remove_file(root.join("state/state.db"));
            watch(&root, &server, &["--on-event", "job.completed=/bin/true"]);
        }
        None => skip("FORGEWATCH_DEBIAN_11 does not name a directory"),
    }
}
