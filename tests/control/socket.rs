//! The socket in the file system.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use forgewatch::control::{BindError, ControlServer, RequestQueue};

use crate::fixture::{NO_GROUP, TestDaemon, bind, with_store};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Creates a socket without a listener.
fn create_stale_socket(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
}

#[test]
fn the_socket_never_exists_with_a_wider_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                if let Ok(found) = fs::symlink_metadata(&path) {
                    assert_eq!(found.mode() & 0o7777, 0o600);
                    seen += 1;
                }
            }
            seen
        });
        with_store(async |store| {
            let (_requests, daemon) = RequestQueue::new(store.clone());
            for _ in 0..200 {
                ControlServer::bind(&path, Some(NO_GROUP), daemon.clone()).unwrap();
            }
        });
        done.store(true, Ordering::Relaxed);
        assert!(
            watcher.join().unwrap() > 0,
            "the watcher never saw the socket"
        );
    });
}

#[test]
fn the_group_gets_access_if_it_exists() {
    let daemon = tempfile::tempdir().unwrap();
    let path = daemon.path().join("control.sock");
    let gid = rustix::process::getgid().as_raw();
    let groups = fs::read_to_string("/etc/group").unwrap();
    let own = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == gid.to_string()).then_some(name)
    });
    let Some(own) = own else {
        eprintln!("skipped: this user's group has no name");
        return;
    };
    bind(&path, own, |server| {
        let _server = server.unwrap();
        let found = fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.mode() & 0o7777, found.gid()), (0o660, gid));
    });
}

#[test]
fn a_missing_folder_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/forgewatch/control.sock");
    bind(&path, NO_GROUP, |server| {
        let _server = server.unwrap();
        assert_eq!(mode(path.parent().unwrap()), 0o755);
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    });
}

#[test]
fn the_socket_is_removed_with_the_daemon_and_nothing_else_is_left() {
    let mut daemon = TestDaemon::accepting();
    let files = |daemon: &TestDaemon| {
        let entries = fs::read_dir(daemon.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with("state.db")).collect();
        names.sort();
        names
    };
    assert_eq!(files(&daemon), ["control.sock"]);
    daemon.stop();
    assert!(files(&daemon).is_empty());
}

#[test]
fn a_socket_that_replaced_it_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let other = bind(&path, NO_GROUP, |server| {
        let _server = server.unwrap();
        fs::remove_file(&path).unwrap();
        UnixListener::bind(&path).unwrap()
    });
    assert!(path.exists());
    drop(other);
}

#[test]
fn a_stale_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    create_stale_socket(&path);
    bind(&path, NO_GROUP, |server| {
        let _server = server.unwrap();
        assert_eq!(mode(&path), 0o600);
    });
}

#[test]
fn a_socket_in_use_is_not_replaced() {
    let daemon = TestDaemon::accepting();
    let path = daemon.socket();
    let error = bind(&path, NO_GROUP, Result::unwrap_err);
    assert_eq!(error, BindError::InUse { path: path.clone() });
    assert!(error.to_string().contains(path.to_str().unwrap()));
    daemon.run(&["reload"]).expect(0);
}

#[test]
fn a_socket_with_a_full_accept_queue_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    // Connections are not accepted; once the queue is full, a nonblocking connect fails.
    let _listener = UnixListener::bind(&path).unwrap();
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let waiting: Vec<_> = (0..=limit.min(4_096))
        .map(|_| {
            let flags = rustix::net::SocketFlags::NONBLOCK;
            let (family, kind) = (
                rustix::net::AddressFamily::UNIX,
                rustix::net::SocketType::STREAM,
            );
            let socket = rustix::net::socket_with(family, kind, flags, None).unwrap();
            let at = rustix::net::SocketAddrUnix::new(&path).unwrap();
            let full = rustix::net::connect(&socket, &at).is_err();
            (socket, full)
        })
        .take_while(|(_, full)| !full)
        .collect();
    assert!(!waiting.is_empty());
    let error = bind(&path, NO_GROUP, Result::unwrap_err);
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
}

#[test]
fn other_files_are_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let expect_rejection = || {
        let error = bind(&path, NO_GROUP, Result::unwrap_err);
        assert_eq!(error, BindError::NotASocket { path: path.clone() });
    };

    fs::write(&path, "precious").unwrap();
    expect_rejection();
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    expect_rejection();
    fs::remove_dir(&path).unwrap();

    // Not even a link to a stale socket.
    let target = folder.path().join("target.sock");
    create_stale_socket(&target);
    symlink(&target, &path).unwrap();
    expect_rejection();
    assert!(target.exists());
    fs::remove_file(&path).unwrap();

    symlink(folder.path().join("nowhere"), &path).unwrap();
    expect_rejection();
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn the_longest_path_of_the_configuration_can_be_bound() {
    let folder = tempfile::tempdir().unwrap();
    let name = "x".repeat(97 - folder.path().as_os_str().len() - 1);
    let path = folder.path().join(name);
    bind(&path, NO_GROUP, |server| {
        let _server = server.unwrap();
        drop(std::os::unix::net::UnixStream::connect(&path).unwrap());
    });
}

#[test]
fn errors_name_the_path_and_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let long = folder.path().join("x".repeat(120));
    for path in [file.join("control.sock"), long, "/".into()] {
        let error = bind(&path, NO_GROUP, Result::unwrap_err).to_string();
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        assert!(error.contains("control.socket"), "{error}");
    }
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "a file was left");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
}
