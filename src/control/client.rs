//! The client's end of the control socket and of the HTTP API. Blocking: a command has nothing else to do in the meantime.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

pub use super::client_error::ClientError;
use super::client_error::RESPONSE_TIMEOUT;
use super::http_transport::{self, HttpResponses, HttpTarget};
use super::protocol::{
    JobPage, JobSummary, ListRequest, MAX_REQUEST, Request, Response, encode_request,
};

/// The most jobs in one request to a socket, so that it fits: the longest name takes 30 bytes.
pub const MAX_JOBS: usize = 1_000;
/// The most jobs in a URL: proxies accept 8 KiB.
const MAX_JOBS_IN_URL: usize = 150;

/// Where the daemon is.
#[derive(Clone, Debug)]
pub enum DaemonAddress {
    Socket(PathBuf),
    Http(Arc<HttpTarget>),
}

impl DaemonAddress {
    /// The most jobs that a request can select.
    pub fn max_jobs(&self) -> usize {
        match self {
            Self::Socket(_) => MAX_JOBS,
            Self::Http(_) => MAX_JOBS_IN_URL,
        }
    }
}

/// Sends a request to the daemon.
///
/// # Errors
/// The request cannot be sent; later errors come from the iterator.
pub fn send(daemon: &DaemonAddress, request: &Request) -> Result<Responses, ClientError> {
    match daemon {
        DaemonAddress::Socket(path) => send_to_socket(path, request).map(Responses::Socket),
        DaemonAddress::Http(target) => {
            let responses = http_transport::send(target, request)?;
            Ok(Responses::Http(Box::new(responses)))
        }
    }
}

fn send_to_socket(socket: &Path, request: &Request) -> Result<BufReader<UnixStream>, ClientError> {
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
    Ok(BufReader::new(stream))
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
pub fn call(daemon: &DaemonAddress, request: &Request) -> Result<Response, ClientError> {
    send(daemon, request)?
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
pub enum Responses {
    Socket(BufReader<UnixStream>),
    Http(Box<HttpResponses>),
}

impl Iterator for Responses {
    type Item = Result<Response, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        let stream = match self {
            Self::Socket(stream) => stream,
            Self::Http(responses) => return responses.next(),
        };
        match stream.read_until(b'\n', &mut line) {
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
