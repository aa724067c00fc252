//! The client's end of the control socket. Blocking: a command has nothing else to do meanwhile.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::protocol::{Answer, MAX_REQUEST, Request};

/// How long the daemon may take to answer. It reads a configuration or looks into its state at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers: {0}")]
    Absent(io::Error),
    /// The socket's mode keeps this user out.
    #[error("this user may not use the socket: {0}")]
    Forbidden(io::Error),
    /// The request does not fit.
    #[error("the request is longer than {} KiB", MAX_REQUEST / 1024)]
    TooLong,
    /// It took longer than anything takes.
    #[error("the daemon did not answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// The connection ended before the answer did.
    #[error("the daemon broke off")]
    BrokenOff,
    /// The answer is none.
    #[error("the answer is not understood: {0}")]
    Nonsense(serde_json::Error),
}

/// Asks the daemon at `socket`.
///
/// # Errors
/// [`ClientError::Absent`] and [`ClientError::Forbidden`] where there is nobody to ask, and [`ClientError::TooLong`];
/// everything else comes with the first answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Answers, ClientError> {
    let mut line = serde_json::to_vec(request).map_err(ClientError::Nonsense)?;
    line.push(b'\n');
    if line.len() > MAX_REQUEST {
        return Err(ClientError::TooLong);
    }
    let absent = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Forbidden(error),
        _ => ClientError::Absent(error),
    };
    let mut stream = UnixStream::connect(socket).map_err(absent)?;
    // One who follows waits as long as it takes until something happens.
    let patience = match request {
        Request::Events { follow: true, .. } => None,
        _ => Some(PATIENCE),
    };
    stream.set_read_timeout(patience).map_err(absent)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(absent)?;
    // A daemon that refuses may do so before it has heard all; its answer says why.
    let _ = stream.write_all(&line);
    Ok(Answers(BufReader::new(stream)))
}

/// Asks what has one answer.
pub fn ask_once(socket: &Path, request: &Request) -> Result<Answer, ClientError> {
    ask(socket, request)?
        .next()
        .unwrap_or(Err(ClientError::BrokenOff))
}

/// What the daemon says, as it comes; ends where the connection does.
#[derive(Debug)]
pub struct Answers(BufReader<UnixStream>);

impl Iterator for Answers {
    type Item = Result<Answer, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        match self.0.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) if line.last() == Some(&b'\n') => {
                Some(serde_json::from_slice(&line).map_err(ClientError::Nonsense))
            }
            Ok(_) => Some(Err(ClientError::BrokenOff)),
            Err(error) => Some(Err(match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent,
                _ => ClientError::BrokenOff,
            })),
        }
    }
}
