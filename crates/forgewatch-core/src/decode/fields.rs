//! From tokens to a [`Status`] or the server's error envelope: which key means what, at which depth.

use super::Reply;
use super::error::DecodeError;
use super::lexer::{Sink, Value};
use super::text::Text;
use crate::job::JobState;
use crate::status::{ApiError, FileSum, Files, Status};

/// How much of a wanted text is kept: a job's error or a name of more than 8 KiB helps nobody.
const TEXT_LIMIT: usize = 8 << 10;

/// How much of a key is kept; no known one is that long.
const KEY_LIMIT: usize = 16;

/// The keys of the top object that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Field {
    Progress,
    Failed,
    StateId,
    StateName,
    JobError,
    Eta,
    Created,
    Start,
    Updated,
    Files(Change),
    Name(Thing),
    Success,
    Error,
    ErrorCode,
    ErrorMessage,
    #[default]
    Other,
}

/// The maps of a diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Added,
    Modified,
    Removed,
}

/// What has a name with `diff_info=1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Game,
    Image,
    Machine,
}

impl Field {
    fn of(key: &[u8]) -> Self {
        match key {
            b"jobprogress" => Self::Progress,
            b"jobfailed" => Self::Failed,
            b"jobstateid" => Self::StateId,
            b"jobstatename" => Self::StateName,
            b"joberror" => Self::JobError,
            b"jobeta" => Self::Eta,
            b"jobcreated" => Self::Created,
            b"jobstart" => Self::Start,
            b"jobupdated" => Self::Updated,
            b"added" => Self::Files(Change::Added),
            b"modified" => Self::Files(Change::Modified),
            b"removed" => Self::Files(Change::Removed),
            b"game" => Self::Name(Thing::Game),
            b"image" => Self::Name(Thing::Image),
            b"machine" => Self::Name(Thing::Machine),
            b"success" => Self::Success,
            b"error" => Self::Error,
            b"error_code" => Self::ErrorCode,
            b"error_message" => Self::ErrorMessage,
            _ => Self::Other,
        }
    }

    /// Whether its presence makes an answer a status.
    fn is_of_job(self) -> bool {
        matches!(
            self,
            Self::Progress | Self::Failed | Self::StateId | Self::StateName
        )
    }
}

/// The keys inside the values of those that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inner {
    /// `filesize` of a file, as the table of the vendor's page has it.
    FileSize,
    /// `size` of a file, as its example has it.
    Size,
    /// `name` of a game, an image or a machine.
    Name,
    #[default]
    Other,
}

/// What is known of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// The key of the top object whose value is being read, and the key inside that.
    field: Field,
    inner: Inner,
    /// Whether there was a field that only a status has.
    is_status: bool,
    status: Status,
    state_by_id: Option<JobState>,
    /// The last `jobfailed`, where it was unusable: its offset and its first byte.
    bad_failed: Option<(u64, u8)>,
    added: Option<FileSum>,
    modified: Option<FileSum>,
    removed: Option<FileSum>,
    /// The map being read, and the sizes of the file being read.
    sum: FileSum,
    file_size: Option<u64>,
    size: Option<u64>,
    envelope: Envelope,
}

/// The fields of the server's error envelope.
#[derive(Debug, Default)]
struct Envelope {
    success: Option<bool>,
    error: Option<bool>,
    code: Option<i64>,
    message: Option<String>,
    /// `error`, where that is the text itself.
    error_text: Option<String>,
}

impl Sink for Fields {
    fn key_limit(&self, depth: u32) -> usize {
        match (depth, self.field) {
            (1, _) | (2, Field::Name(_)) | (3, Field::Files(_)) => KEY_LIMIT,
            _ => 0,
        }
    }

    fn value_limit(&self, depth: u32) -> usize {
        match (depth, self.field, self.inner) {
            (1, Field::Other | Field::Files(_) | Field::Name(_), _) => 0,
            (1, ..)
            | (2, Field::Name(_), Inner::Name)
            | (3, Field::Files(_), Inner::Size | Inner::FileSize) => TEXT_LIMIT,
            _ => 0,
        }
    }

    fn key(&mut self, depth: u32, key: Text<'_>) {
        let key = key.whole().unwrap_or_default();
        if depth == 1 {
            self.field = Field::of(key);
            self.is_status |= self.field.is_of_job();
            return;
        }
        self.inner = match (self.field, key) {
            (Field::Files(_), b"filesize") => Inner::FileSize,
            (Field::Files(_), b"size") => Inner::Size,
            (Field::Name(_), b"name") => Inner::Name,
            _ => Inner::Other,
        };
    }

    fn value(&mut self, depth: u32, at: u64, value: Value<'_>) {
        match (depth, self.field) {
            (1, _) => self.set(at, value),
            (2, Field::Files(_)) => self.sum.count = self.sum.count.saturating_add(1),
            (2, Field::Name(thing)) if self.inner == Inner::Name => {
                *self.name(thing) = value.text();
            }
            (2, Field::Success | Field::Error) => self.set_flag(true),
            (3, Field::Files(_)) => match self.inner {
                Inner::FileSize => self.file_size = value.bytes(),
                Inner::Size => self.size = value.bytes(),
                Inner::Name | Inner::Other => {}
            },
            _ => {}
        }
    }

    fn open(&mut self, depth: u32, at: u64, bracket: u8) {
        match (depth, self.field) {
            (1, Field::Files(_)) => self.sum = FileSum::default(),
            (1, _) => self.set_nested(at, bracket),
            (2, Field::Files(_)) => (self.file_size, self.size) = (None, None),
            (2, Field::Name(thing)) if self.inner == Inner::Name => *self.name(thing) = None,
            (2, Field::Success | Field::Error) => self.set_flag(true),
            (3, Field::Files(_)) => match self.inner {
                Inner::FileSize => self.file_size = None,
                Inner::Size => self.size = None,
                Inner::Name | Inner::Other => {}
            },
            _ => {}
        }
        // A list has no keys: what was said of the place before must not hold for its items.
        if depth <= 2 {
            self.inner = Inner::Other;
        }
    }

    fn close(&mut self, depth: u32) {
        match (depth, self.field) {
            (1, Field::Files(change)) => *self.files(change) = Some(self.sum),
            (2, Field::Files(_)) => {
                let bytes = self.file_size.or(self.size).unwrap_or(0);
                self.sum.count = self.sum.count.saturating_add(1);
                self.sum.bytes = self.sum.bytes.saturating_add(bytes);
            }
            _ => {}
        }
    }
}

impl Fields {
    /// Takes the value of a field of the top object; the last one counts.
    fn set(&mut self, at: u64, value: Value<'_>) {
        let status = &mut self.status;
        match self.field {
            Field::Progress => status.progress = value.percent(),
            Field::Failed => {
                let failures = value.failures();
                status.failed = failures.unwrap_or(0);
                let bad = failures.is_none();
                self.bad_failed = bad.then(|| (at, value.first_byte()));
            }
            Field::StateId => self.state_by_id = value.integer().map(JobState::from_id),
            Field::StateName => status.state_name = value.text(),
            Field::JobError => status.error = value.text(),
            Field::Eta => status.eta = value.seconds(),
            Field::Created => status.created = value.seconds(),
            Field::Start => status.start = value.seconds(),
            Field::Updated => status.updated = value.seconds(),
            Field::Files(change) => *self.files(change) = None,
            Field::Name(thing) => *self.name(thing) = None,
            Field::Success => self.envelope.success = value.truth(),
            Field::Error => {
                self.envelope.error = value.truth();
                self.envelope.error_text = value.text();
            }
            Field::ErrorCode => self.envelope.code = value.integer(),
            Field::ErrorMessage => self.envelope.message = value.text(),
            Field::Other => {}
        }
    }

    /// Takes an object or a list as the value of a field: for most of them, nothing usable.
    fn set_nested(&mut self, at: u64, bracket: u8) {
        self.set(at, Value::Null);
        match self.field {
            Field::Failed => self.bad_failed = Some((at, bracket)),
            // An empty one is PHP's false; whatever is in it makes it true.
            _ => self.set_flag(false),
        }
    }

    fn set_flag(&mut self, truth: bool) {
        match self.field {
            Field::Success => self.envelope.success = Some(truth),
            Field::Error => self.envelope.error = Some(truth),
            _ => {}
        }
    }

    fn files(&mut self, change: Change) -> &mut Option<FileSum> {
        match change {
            Change::Added => &mut self.added,
            Change::Modified => &mut self.modified,
            Change::Removed => &mut self.removed,
        }
    }

    fn name(&mut self, thing: Thing) -> &mut Option<String> {
        let names = &mut self.status.names;
        match thing {
            Thing::Game => &mut names.game,
            Thing::Image => &mut names.image,
            Thing::Machine => &mut names.machine,
        }
    }

    /// What the answer was, now that all of it is known; it ended at the offset `at`.
    pub(super) fn finish(mut self, at: u64) -> Result<Reply, DecodeError> {
        if !self.is_status {
            return self.envelope.finish(at).map(Reply::Refusal);
        }
        if let Some((at, first)) = self.bad_failed {
            return Err(DecodeError {
                at,
                expected: "a number, true or false for jobfailed",
                found: Some(first),
            });
        }
        let by_name = || JobState::from_name(self.status.state_name.as_deref()?);
        self.status.state = self.state_by_id.or_else(by_name);
        let maps = [self.added, self.modified, self.removed];
        if maps.iter().any(Option::is_some) {
            let [added, modified, removed] = maps.map(Option::unwrap_or_default);
            self.status.files = Some(Files {
                added,
                modified,
                removed,
            });
        }
        Ok(Reply::Status(Box::new(self.status)))
    }
}

impl Envelope {
    fn finish(self, at: u64) -> Result<ApiError, DecodeError> {
        let failed = self.success == Some(false) || self.error == Some(true);
        if !failed && self.message.is_none() {
            return Err(DecodeError {
                at,
                expected: "a field of a job (jobprogress, jobfailed, jobstateid or jobstatename)",
                found: None,
            });
        }
        Ok(ApiError {
            code: self.code,
            message: self.message.or(self.error_text).unwrap_or_default(),
        })
    }
}
