//! Entries of the journal of systemd, in its native protocol: a datagram per entry,
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
//!
//! Own code, because the crates for it do not fit: `tracing-journald` has no fields that are known only at run time, and
//! `libsystemd` brings nine more crates and always writes to the system's socket, so that no test could read it. What they
//! do beyond this is to pass long entries in a file; an entry here always fits into a datagram, as records are short.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use super::text;
use forgewatch_core::delivery::label_variable;
use forgewatch_core::event::Event;

pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// The longest name of a field that the journal accepts.
const MAX_NAME: usize = 64;

/// An entry, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JournalEntry {
    bytes: Vec<u8>,
    /// What standard error gets instead.
    pub(super) record: String,
}

impl JournalEntry {
    /// The entry of an event with its record.
    pub(super) fn of_event(event: &Event, record: String) -> Self {
        let mut entry = Self::new(event.kind.level(), &text::sentence(event), record);
        entry.add("MESSAGE_ID", event.kind.manual().message_id);
        entry.add("FORGEWATCH_EVENT_TYPE", event.kind.as_str());
        if let Some(job) = event.job {
            entry.add("FORGEWATCH_JOB", &job.to_string());
        }
        if let Some(delivery) = event.fields.delivery.as_deref() {
            entry.add("FORGEWATCH_HOOK", &delivery.hook);
        }
        for (name, value) in event.meta.iter().flat_map(|meta| &meta.labels) {
            entry.add(&label_variable(name), value);
        }
        entry
    }

    /// The entry of a diagnostic.
    pub(super) fn of_diagnostic(
        level: &str,
        message: &str,
        job: Option<&str>,
        hook: Option<&str>,
        record: String,
    ) -> Self {
        let mut entry = Self::new(level, message, record);
        for (name, value) in [("FORGEWATCH_JOB", job), ("FORGEWATCH_HOOK", hook)] {
            if let Some(value) = value {
                entry.add(name, value);
            }
        }
        entry
    }

    fn new(level: &str, message: &str, record: String) -> Self {
        let priority = match level {
            "ERROR" => "3",
            "WARN" => "4",
            "INFO" => "6",
            _ => "7",
        };
        let mut entry = Self {
            bytes: Vec::with_capacity(record.len() + 1024),
            record: String::new(),
        };
        entry.add("PRIORITY", priority);
        entry.add("SYSLOG_IDENTIFIER", "forgewatch");
        entry.add("MESSAGE", message);
        entry.add("FORGEWATCH_RECORD", &record);
        entry.record = record;
        entry
    }

    /// A label with a longer name is in the record alone.
    fn add(&mut self, name: &str, value: &str) {
        if name.len() > MAX_NAME {
            return;
        }
        self.bytes.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.bytes.push(b'\n');
            self.bytes.extend((value.len() as u64).to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(b'\n');
    }
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// None until the first entry, and after an error.
    socket: Option<UnixDatagram>,
    is_lost: bool,
}

impl Journal {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            socket: None,
            is_lost: false,
        }
    }

    /// Sends the entry; waits while the queue of the journal is full. Err is what standard error gets instead: at first with
    /// the reason. Each entry tries again.
    pub(super) fn write(&mut self, entry: &JournalEntry) -> Result<(), String> {
        let sent = self.send(&entry.bytes);
        let was_lost = std::mem::replace(&mut self.is_lost, sent.is_err());
        let Err(error) = sent else {
            return Ok(());
        };
        self.socket = None;
        let why = format!(
            "forgewatch: cannot write to the journal: {error}; continuing on standard error\n"
        );
        let why = if was_lost { String::new() } else { why };
        Err(why + &entry.record)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => UnixDatagram::unbound()?,
        };
        socket.send_to(bytes, &self.path)?;
        self.socket = Some(socket);
        Ok(())
    }
}
