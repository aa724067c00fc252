//! The socket in the file system.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use forgewatch::control::server::{BindError, Server};

use crate::fixture::{NO_GROUP, Stage, bind, with_store};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A socket whose listener is gone.
fn leave_behind(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
}

#[test]
fn it_is_closed_to_others_from_its_first_instant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                if let Ok(there) = fs::symlink_metadata(&path) {
                    assert_eq!(there.mode() & 0o7777, 0o600);
                    seen += 1;
                }
            }
            seen
        });
        with_store(async |store| {
            for _ in 0..200 {
                Server::bind(&path, NO_GROUP, store.clone()).unwrap();
            }
        });
        done.store(true, Ordering::Relaxed);
        assert!(watcher.join().unwrap() > 0, "never looked in time");
    });
}

#[test]
fn the_group_may_use_it_where_there_is_one() {
    let stage = tempfile::tempdir().unwrap();
    let path = stage.path().join("control.sock");
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
        let there = fs::symlink_metadata(&path).unwrap();
        assert_eq!((there.mode() & 0o7777, there.gid()), (0o660, gid));
    });
}

#[test]
fn its_folder_is_made_where_it_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/forgewatch/control.sock");
    bind(&path, NO_GROUP, |server| {
        let _server = server.unwrap();
        assert_eq!(mode(path.parent().unwrap()), 0o755);
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    });
}

#[test]
fn it_goes_with_the_daemon_and_nothing_else_is_left() {
    let mut stage = Stage::obedient();
    let files = |stage: &Stage| {
        let entries = fs::read_dir(stage.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with("state.db")).collect();
        names.sort();
        names
    };
    assert_eq!(files(&stage), ["control.sock"]);
    stage.stop();
    assert!(files(&stage).is_empty());
}

#[test]
fn another_that_took_its_place_stays_when_it_goes() {
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
fn one_that_nobody_answers_at_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    leave_behind(&path);
    bind(&path, NO_GROUP, |server| {
        let _server = server.unwrap();
        assert_eq!(mode(&path), 0o600);
    });
}

#[test]
fn one_that_somebody_answers_at_stays_theirs() {
    let stage = Stage::obedient();
    let path = stage.socket();
    let error = bind(&path, NO_GROUP, Result::unwrap_err);
    assert_eq!(error, BindError::InUse { path: path.clone() });
    assert!(error.to_string().contains(path.to_str().unwrap()));
    stage.run(&["reload"]).expect(0);
}

#[test]
fn one_with_a_queue_that_is_full_stays_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    // Nobody accepts; once the queue is full, a connection that does not wait fails.
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
fn what_is_no_socket_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let expect_refused = || {
        let error = bind(&path, NO_GROUP, Result::unwrap_err);
        assert_eq!(error, BindError::NoSocket { path: path.clone() });
    };

    fs::write(&path, "somebody's").unwrap();
    expect_refused();
    assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's");
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    expect_refused();
    fs::remove_dir(&path).unwrap();

    // Not even a link to a socket that could go.
    let behind = folder.path().join("behind.sock");
    leave_behind(&behind);
    symlink(&behind, &path).unwrap();
    expect_refused();
    assert!(behind.exists());
    fs::remove_file(&path).unwrap();

    symlink(folder.path().join("nowhere"), &path).unwrap();
    expect_refused();
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn a_path_as_long_as_the_configuration_takes_can_be_bound() {
    let folder = tempfile::tempdir().unwrap();
    let name = "x".repeat(97 - folder.path().as_os_str().len() - 1);
    let path = folder.path().join(name);
    bind(&path, NO_GROUP, |server| {
        let _server = server.unwrap();
        drop(std::os::unix::net::UnixStream::connect(&path).unwrap());
    });
}

#[test]
fn a_place_that_will_not_do_is_named() {
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
    assert_eq!(left, 1, "something was left");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
}
