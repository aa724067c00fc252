//! The keys of `[state]` and `[control]`, which are the daemon's alone: a part of the table of [`super::keys`].

use std::time::Duration;

use super::keys::{Key, KeyDefault, ValueKind};

/// The variable that says where the control socket is.
pub(super) const SOCKET_VARIABLE: &str = "FORGEWATCH_SOCKET";
/// Where the control socket is, where nobody says.
pub(super) const SOCKET: &str = "/run/forgewatch/control.sock";

/// In the order of the example file.
pub(super) const DAEMON_KEYS: &[Key] = &[
    Key {
        section: "state",
        name: "path",
        kind: ValueKind::File {
            set: |d, path| d.state = path,
        },
        preset: KeyDefault::Value("/var/lib/forgewatch/state.db"),
        flag: Some("--state"),
        variable: None,
        doc: "The file in which the daemon keeps what must survive it. A change needs a restart.",
    },
    Key {
        section: "state",
        name: "retain",
        kind: ValueKind::Duration {
            min: Duration::from_secs(1),
            max: Duration::from_hours(3650 * 24),
            set: |d, t| d.retain = t,
        },
        preset: KeyDefault::Value("30d"),
        flag: None,
        variable: None,
        doc: "How long ended jobs and what was told of them are kept.",
    },
    Key {
        section: "control",
        name: "socket",
        kind: ValueKind::Socket {
            set: |d, path| d.socket = path,
        },
        preset: KeyDefault::Value(SOCKET),
        flag: None,
        variable: Some(SOCKET_VARIABLE),
        doc: "The socket by which other commands talk to the daemon. A change needs a restart.",
    },
    Key {
        section: "control",
        name: "group",
        kind: ValueKind::Group {
            set: |d, group| group.clone_into(&mut d.group),
        },
        preset: KeyDefault::Value("forgewatch-ops"),
        flag: None,
        variable: None,
        doc: "The group that may use the socket, besides root and the daemon's user. The daemon warns if there is none.",
    },
    Key {
        section: "control",
        name: "stop_grace",
        kind: ValueKind::Duration {
            min: Duration::ZERO,
            max: Duration::from_hours(1),
            set: |d, t| d.stop_grace = t,
        },
        preset: KeyDefault::Value("15s"),
        flag: None,
        variable: None,
        doc: "How long hooks that run may go on when the daemon stops, before they are ended.",
    },
];
