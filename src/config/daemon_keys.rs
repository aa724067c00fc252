//! The keys of `[state]` and `[control]`, which only the daemon uses: a part of the table in [`super::keys`].

use std::time::Duration;

use super::keys::{Key, KeyDefault, ValueKind};

/// Overrides `control.socket`.
pub(super) const SOCKET_VARIABLE: &str = "FORGEWATCH_SOCKET";
/// The default of `control.socket`.
pub(super) const DEFAULT_SOCKET: &str = "/run/forgewatch/control.sock";

/// In the order of the example file.
pub(super) const DAEMON_KEYS: &[Key] = &[
    Key {
        section: "state",
        name: "path",
        kind: ValueKind::File {
            set: |d, path| d.state = path,
        },
        default: KeyDefault::Value("/var/lib/forgewatch/state.db"),
        flag: Some("--state"),
        variable: None,
        doc: "The daemon's state file. A change needs a restart.",
    },
    Key {
        section: "state",
        name: "retain",
        kind: ValueKind::Duration {
            min: Duration::from_secs(1),
            max: Duration::from_hours(3650 * 24),
            set: |d, t| d.retain = t,
        },
        default: KeyDefault::Value("30d"),
        flag: None,
        variable: None,
        doc: "How long ended jobs and their events are kept.",
    },
    Key {
        section: "control",
        name: "socket",
        kind: ValueKind::Socket {
            set: |d, path| d.socket = path,
        },
        default: KeyDefault::Value(DEFAULT_SOCKET),
        flag: None,
        variable: Some(SOCKET_VARIABLE),
        doc: "The socket on which the daemon accepts commands. A change needs a restart.",
    },
    Key {
        section: "control",
        name: "group",
        kind: ValueKind::Group {
            set: |d, group| group.clone_into(&mut d.group),
        },
        default: KeyDefault::Value("forgewatch-ops"),
        flag: None,
        variable: None,
        doc: "The group that may use the socket, besides root and the daemon's user. If it does not exist, the daemon warns.",
    },
    Key {
        section: "control",
        name: "stop_grace",
        kind: ValueKind::Duration {
            min: Duration::ZERO,
            max: Duration::from_hours(1),
            set: |d, t| d.stop_grace = t,
        },
        default: KeyDefault::Value("15s"),
        flag: None,
        variable: None,
        doc: "How long running hooks may continue at shutdown before they are terminated.",
    },
];
