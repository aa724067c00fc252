//! The client's end of the control socket. Blocking: a command has nothing else to do in the meantime.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::protocol::{
    JobPage, JobSummary, ListRequest, MAX_REQUEST, PROTOCOL, Request, Response, encode_request,
};

/// Time limit for a response. At most, the daemon reads a configuration or queries its state.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon is running: {0}")]
    NotRunning(io::Error),
    #[error("this user may not use the socket: {0}")]
    PermissionDenied(io::Error),
    #[error("the request is longer than {} KiB", MAX_REQUEST / 1024)]
    RequestTooLong,
    #[error("the daemon did not respond within {} s", RESPONSE_TIMEOUT.as_secs())]
    Timeout,
    #[error("the connection to the daemon was lost")]
    ConnectionLost,
    #[error("invalid response from the daemon: {0}")]
    InvalidResponse(serde_json::Error),
    #[error(
        "the daemon is forgewatch {version} with version {protocol} of the control protocol, this is {} with version \
         {PROTOCOL}; use the same version of both",
        env!("CARGO_PKG_VERSION")
    )]
    Incompatible { version: String, protocol: u32 },
    #[error("{0}")]
    Unavailable(String),
    /// An offset of another state file.
    #[error(
        "offset {offset} is beyond the last event, {last}; if the state file is new, start with --since 0"
    )]
    UnknownOffset { offset: u64, last: u64 },
}

/// Sends a request to the daemon at `socket`.
///
/// # Errors
/// [`ClientError::NotRunning`], [`ClientError::PermissionDenied`] and [`ClientError::RequestTooLong`]; every other error
/// comes from the iterator.
pub fn send(socket: &Path, request: &Request) -> Result<Responses, ClientError> {
    let line = encode_request(request).map_err(ClientError::InvalidResponse)?;
    if line.len() > MAX_REQUEST {
        return Err(ClientError::RequestTooLong);
    }
    let mut stream = connect(socket, RESPONSE_TIMEOUT)?;
    // The next event may take any time.
    let timeout = match request {
        // A hook has a time limit of its own.
        Request::Events { follow: true, .. } | Request::TestHook(_) => None,
        _ => Some(RESPONSE_TIMEOUT),
    };
    stream
        .set_read_timeout(timeout)
        .map_err(ClientError::NotRunning)?;
    // A daemon may reject the request before it has read all of it; the response says why.
    let _ = stream.write_all(&line);
    Ok(Responses(BufReader::new(stream)))
}

/// Connects with a timeout for connecting and writing: if the daemon hangs, the kernel's accept queue fills up, and
/// connecting would block forever.
fn connect(socket: &Path, limit: Duration) -> Result<UnixStream, ClientError> {
    let connected = || {
        let flags = SocketFlags::CLOEXEC;
        let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        set_socket_timeout(&stream, Timeout::Send, Some(limit))?;
        rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
        Ok(UnixStream::from(stream))
    };
    connected().map_err(|error: Errno| match error {
        Errno::AGAIN => ClientError::Timeout,
        Errno::ACCESS | Errno::PERM => ClientError::PermissionDenied(error.into()),
        _ => ClientError::NotRunning(error.into()),
    })
}

/// Sends a request that has one response.
pub fn call(socket: &Path, request: &Request) -> Result<Response, ClientError> {
    send(socket, request)?
        .next()
        .unwrap_or(Err(ClientError::ConnectionLost))
}

/// Collects the pages of a list, oldest watch first. `page` requests one.
pub fn collect_list<E>(
    mut list: ListRequest,
    mut page: impl FnMut(&Request) -> Result<JobPage, E>,
) -> Result<Vec<JobSummary>, E> {
    let mut all = Vec::new();
    loop {
        let JobPage { jobs, next } = page(&Request::List(list.clone()))?;
        all.extend(jobs);
        if next.is_none() {
            break;
        }
        list.after = next;
    }
    let started = |job: &JobSummary| job.started_at_ms.unwrap_or(i64::MAX);
    all.sort_by(|a, b| (started(a), a.job, &a.watch).cmp(&(started(b), b.job, &b.watch)));
    Ok(all)
}

/// Responses as they arrive; ends with the connection.
#[derive(Debug)]
pub struct Responses(BufReader<UnixStream>);

impl Iterator for Responses {
    type Item = Result<Response, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        match self.0.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) if line.last() == Some(&b'\n') => Some(response(&line)),
            Ok(_) => Some(Err(ClientError::ConnectionLost)),
            Err(error) => Some(Err(match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Timeout,
                _ => ClientError::ConnectionLost,
            })),
        }
    }
}

fn response(line: &[u8]) -> Result<Response, ClientError> {
    Err(match serde_json::from_slice(line) {
        Ok(Response::Incompatible { protocol, version }) => {
            ClientError::Incompatible { version, protocol }
        }
        Ok(Response::Unavailable { message }) => ClientError::Unavailable(message),
        Ok(Response::UnknownOffset { offset, last }) => ClientError::UnknownOffset { offset, last },
        Ok(response) => return Ok(response),
        Err(error) => ClientError::InvalidResponse(error),
    })
}

#[cfg(test)]
mod tests {
    use rustix::net::{bind, listen};

    use super::*;

    #[test]
    fn connecting_to_a_full_accept_queue_times_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let flags = SocketFlags::CLOEXEC;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        // Connections are never accepted.
        listen(&listener, 0).unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match connect(&path, Duration::from_millis(50)) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert!(
            !waiting.is_empty() && matches!(error, ClientError::Timeout),
            "{error}"
        );
    }
}
