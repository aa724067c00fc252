//! From tokens to a [`Status`] or the server's error envelope: the meaning of each key at its depth.

use super::DecodeError;
use super::lexer::TokenSink;
use super::scalar::Scalar;
use super::text::TokenText;
use crate::job::JobState;
use crate::status::{ApiError, DiffFiles, FileSum, Status};

/// The body of a response with HTTP status 200.
#[derive(Clone, Debug, PartialEq)]
pub enum DecodedBody {
    /// The job's status.
    Status(Box<Status>),
    /// An error of the request. Whatever it says about the job does not count.
    Error(ApiError),
}

/// The limit of a text: a longer error or name helps no reader.
const TEXT_LIMIT: usize = 8 << 10;

/// The limit of a key; all known keys are shorter.
const KEY_LIMIT: usize = 16;

/// The known keys of the top object.
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
    DiffId,
    UpdateId,
    VersionId,
    DiffFiles(FileChange),
    Name(NamedObject),
    Success,
    Error,
    ErrorCode,
    ErrorMessage,
    #[default]
    Other,
}

/// The maps of files in a diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileChange {
    Added,
    Modified,
    Removed,
}

/// The objects that have a name with `diff_info=1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NamedObject {
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
            b"diffid" => Self::DiffId,
            b"updateid" => Self::UpdateId,
            b"imageversionid" => Self::VersionId,
            b"added" => Self::DiffFiles(FileChange::Added),
            b"modified" => Self::DiffFiles(FileChange::Modified),
            b"removed" => Self::DiffFiles(FileChange::Removed),
            b"game" => Self::Name(NamedObject::Game),
            b"image" => Self::Name(NamedObject::Image),
            b"machine" => Self::Name(NamedObject::Machine),
            b"success" => Self::Success,
            b"error" => Self::Error,
            b"error_code" => Self::ErrorCode,
            b"error_message" => Self::ErrorMessage,
            _ => Self::Other,
        }
    }

    /// Whether its presence makes the body a status.
    fn is_job_field(self) -> bool {
        matches!(
            self,
            Self::Progress | Self::Failed | Self::StateId | Self::StateName
        )
    }
}

/// The known keys inside the values of the top object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum InnerKey {
    /// `filesize` of a file, as in the table of the vendor's page.
    FileSize,
    /// `size` of a file, as in the example of the page.
    Size,
    /// `name` of a game, an image or a machine.
    Name,
    #[default]
    Other,
}

/// The content of a body so far.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// The current key of the top object, and the current key inside its value.
    field: Field,
    inner: InnerKey,
    /// Whether any key belongs to a status alone.
    is_status: bool,
    status: Status,
    state_by_id: Option<JobState>,
    /// The last `jobfailed`, if it was invalid: its offset and its first byte.
    invalid_failed: Option<(u64, u8)>,
    /// The last `jobfailed` that was an object or a list, which is invalid unless it is empty.
    nested_failed: (u64, u8),
    added: Option<FileSum>,
    modified: Option<FileSum>,
    removed: Option<FileSum>,
    /// The current map, and the sizes of the current file.
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
    /// `error`, if it is a text.
    error_text: Option<String>,
}

impl TokenSink for Fields {
    fn key_limit(&self, depth: u32) -> usize {
        match (depth, self.field) {
            (1, _) | (2, Field::Name(_)) | (3, Field::DiffFiles(_)) => KEY_LIMIT,
            _ => 0,
        }
    }

    fn value_limit(&self, depth: u32) -> usize {
        match (depth, self.field, self.inner) {
            (1, Field::Other | Field::DiffFiles(_) | Field::Name(_), _) => 0,
            (1, ..)
            | (2, Field::Name(_), InnerKey::Name)
            | (3, Field::DiffFiles(_), InnerKey::Size | InnerKey::FileSize) => TEXT_LIMIT,
            _ => 0,
        }
    }

    fn key(&mut self, depth: u32, key: TokenText<'_>) {
        let key = key.complete().unwrap_or_default();
        if depth == 1 {
            self.field = Field::of(key);
            self.is_status |= self.field.is_job_field();
            return;
        }
        self.inner = match (self.field, key) {
            (Field::DiffFiles(_), b"filesize") => InnerKey::FileSize,
            (Field::DiffFiles(_), b"size") => InnerKey::Size,
            (Field::Name(_), b"name") => InnerKey::Name,
            _ => InnerKey::Other,
        };
    }

    fn value(&mut self, depth: u32, at: u64, value: Scalar<'_>) {
        match (depth, self.field) {
            (1, _) => self.set(at, value),
            (2, Field::DiffFiles(_)) => self.sum.count = self.sum.count.saturating_add(1),
            (2, Field::Name(object)) if self.inner == InnerKey::Name => {
                *self.name(object) = value.text();
            }
            (2, Field::Success | Field::Error | Field::Failed) => self.set_not_empty(),
            (3, Field::DiffFiles(_)) => match self.inner {
                InnerKey::FileSize => self.file_size = value.bytes(),
                InnerKey::Size => self.size = value.bytes(),
                InnerKey::Name | InnerKey::Other => {}
            },
            _ => {}
        }
    }

    fn open(&mut self, depth: u32, at: u64, bracket: u8) {
        match (depth, self.field) {
            (1, Field::DiffFiles(_)) => self.sum = FileSum::default(),
            (1, _) => self.set_nested(at, bracket),
            (2, Field::DiffFiles(_)) => (self.file_size, self.size) = (None, None),
            (2, Field::Name(object)) if self.inner == InnerKey::Name => *self.name(object) = None,
            (2, Field::Success | Field::Error | Field::Failed) => self.set_not_empty(),
            (3, Field::DiffFiles(_)) => match self.inner {
                InnerKey::FileSize => self.file_size = None,
                InnerKey::Size => self.size = None,
                InnerKey::Name | InnerKey::Other => {}
            },
            _ => {}
        }
        // A list has no keys: the key before must not apply to its items.
        if depth <= 2 {
            self.inner = InnerKey::Other;
        }
    }

    fn close(&mut self, depth: u32) {
        match (depth, self.field) {
            (1, Field::DiffFiles(change)) => *self.files(change) = Some(self.sum),
            (2, Field::DiffFiles(_)) => {
                let bytes = self.file_size.or(self.size).unwrap_or(0);
                self.sum.count = self.sum.count.saturating_add(1);
                self.sum.bytes = self.sum.bytes.saturating_add(bytes);
            }
            _ => {}
        }
    }
}

impl Fields {
    /// Sets a field of the top object; the last value counts.
    fn set(&mut self, at: u64, value: Scalar<'_>) {
        let status = &mut self.status;
        match self.field {
            Field::Progress => status.progress = value.percent(),
            Field::Failed => {
                let failures = value.failures();
                status.failed = failures.unwrap_or(0);
                let invalid = failures.is_none();
                self.invalid_failed = invalid.then(|| (at, value.first_byte()));
            }
            Field::StateId => self.state_by_id = value.integer().map(JobState::from_id),
            Field::StateName => status.state_name = value.text(),
            Field::JobError => status.error = value.text(),
            Field::Eta => status.eta = value.seconds(),
            Field::Created => status.created = value.seconds(),
            Field::Start => status.start = value.seconds(),
            Field::Updated => status.updated = value.seconds(),
            Field::DiffId => status.diff_id = value.job_id(),
            Field::UpdateId => status.update_id = value.job_id(),
            Field::VersionId => status.version_id = value.job_id(),
            Field::DiffFiles(change) => *self.files(change) = None,
            Field::Name(object) => *self.name(object) = None,
            Field::Success => self.envelope.success = value.truth(),
            Field::Error => {
                self.envelope.error = value.truth();
                self.envelope.error_text = value.text().filter(|_| !value.is_flag());
            }
            Field::ErrorCode => self.envelope.code = value.integer(),
            Field::ErrorMessage => self.envelope.message = value.text(),
            Field::Other => {}
        }
    }

    /// Sets a field to an object or a list, which is the wrong type for most.
    fn set_nested(&mut self, at: u64, bracket: u8) {
        self.set(at, Scalar::Null);
        if self.field == Field::Failed {
            self.nested_failed = (at, bracket);
        }
    }

    /// Sets a field to an object or a list that is not empty.
    fn set_not_empty(&mut self) {
        match self.field {
            Field::Failed => self.invalid_failed = Some(self.nested_failed),
            // In PHP, a list that is not empty is true.
            Field::Success => self.envelope.success = Some(true),
            Field::Error => self.envelope.error = Some(true),
            _ => {}
        }
    }

    fn files(&mut self, change: FileChange) -> &mut Option<FileSum> {
        match change {
            FileChange::Added => &mut self.added,
            FileChange::Modified => &mut self.modified,
            FileChange::Removed => &mut self.removed,
        }
    }

    fn name(&mut self, object: NamedObject) -> &mut Option<String> {
        let names = &mut self.status.names;
        match object {
            NamedObject::Game => &mut names.game,
            NamedObject::Image => &mut names.image,
            NamedObject::Machine => &mut names.machine,
        }
    }

    /// Ends the body at the offset `at` and returns its content.
    pub(super) fn finish(mut self, at: u64) -> Result<DecodedBody, DecodeError> {
        let by_name = || JobState::from_name(self.status.state_name.as_deref()?);
        self.status.state = self.state_by_id.or_else(by_name);
        let rejected = self.envelope.is_error(is_blank(&self.status));
        let failed = self.status.failed > 0 || self.status.state == Some(JobState::Failed);
        if rejected && !failed {
            let message = self.envelope.message.or(self.envelope.error_text);
            return Ok(DecodedBody::Error(ApiError {
                code: self.envelope.code,
                message: message.or(self.status.error).unwrap_or_default(),
            }));
        }
        if !self.is_status {
            return Err(DecodeError {
                at,
                expected: "a job field (jobprogress, jobfailed, jobstateid or jobstatename)",
                found: None,
            });
        }
        if let Some((at, first)) = self.invalid_failed {
            return Err(DecodeError {
                at,
                expected: "a number, true or false for jobfailed",
                found: Some(first),
            });
        }
        self.status.rejected = rejected;
        if rejected && self.status.error.is_none() {
            self.status.error = self.envelope.message.or(self.envelope.error_text);
        }
        let maps = [self.added, self.modified, self.removed];
        if maps.iter().any(Option::is_some) {
            let [added, modified, removed] = maps.map(Option::unwrap_or_default);
            self.status.files = Some(DiffFiles {
                added,
                modified,
                removed,
            });
        }
        Ok(DecodedBody::Status(Box::new(self.status)))
    }
}

/// Whether nothing in the status distinguishes it from a row of empty fields.
fn is_blank(status: &Status) -> bool {
    matches!(status.state, None | Some(JobState::Unknown(0)))
        && status.state_name.is_none()
        && status.progress.is_none_or(|progress| progress == 0.0)
}

impl Envelope {
    /// Whether the response is an error: it says so, or it has an error's details and a blank status.
    fn is_error(&self, is_blank: bool) -> bool {
        let has_details = self.message.is_some() || self.code.is_some_and(|code| code != 0);
        self.success == Some(false) || self.error == Some(true) || (is_blank && has_details)
    }
}
