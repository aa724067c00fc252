//! The client's end of the control socket. Blocking: a command has nothing else to do meanwhile.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

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
    #[error("the connection to the daemon was lost")]
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
    let mut stream = connect(socket, PATIENCE)?;
    // One who follows waits as long as it takes until something happens.
    let patience = match request {
        Request::Events { follow: true, .. } => None,
        _ => Some(PATIENCE),
    };
    stream
        .set_read_timeout(patience)
        .map_err(ClientError::Absent)?;
    // A daemon that refuses may do so before it has heard all; its answer says why.
    let _ = stream.write_all(&line);
    Ok(Answers(BufReader::new(stream)))
}

/// Connects, and bounds how long that and what is written may take: where a daemon hangs, the kernel's queue of clients
/// fills up, and one more would wait for a place in it without end.
fn connect(socket: &Path, patience: Duration) -> Result<UnixStream, ClientError> {
    let connected = || {
        let flags = SocketFlags::CLOEXEC;
        let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        set_socket_timeout(&stream, Timeout::Send, Some(patience))?;
        rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
        Ok(UnixStream::from(stream))
    };
    connected().map_err(|error: Errno| match error {
        Errno::AGAIN => ClientError::Silent,
        Errno::ACCESS | Errno::PERM => ClientError::Forbidden(error.into()),
        _ => ClientError::Absent(error.into()),
    })
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

#[cfg(test)]
mod tests {
    use rustix::net::{bind, listen};

    use super::*;

    #[test]
    fn a_daemon_whose_queue_is_full_is_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let flags = SocketFlags::CLOEXEC;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        // Nobody accepts.
        listen(&listener, 0).unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match connect(&path, Duration::from_millis(50)) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert!(
            !waiting.is_empty() && matches!(error, ClientError::Silent),
            "{error}"
        );
    }
}
