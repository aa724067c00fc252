//! Requests in, heads of responses out: as much of HTTP/1.1 as a stand-in needs.

use std::io;

use httparse::Status;
use tokio::io::{AsyncRead, AsyncReadExt};

use forgewatch_core::job::{JobKind, JobRef};

/// The longest request head, in bytes.
pub(super) const HEAD_LIMIT: usize = 64 * 1024;

/// The most headers a request may have.
const MOST_HEADERS: usize = 200;

/// A request, its body read and thrown away.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// As sent: path and query, or a whole URL when a proxy is asked.
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    /// HTTP/1.1 rather than 1.0.
    pub(super) modern: bool,
}

/// What came instead of a request.
#[derive(Debug)]
pub(super) enum NoRequest {
    /// The connection is over.
    Closed,
    /// Not HTTP/1: to be answered with this status, then closed.
    Bad(u16),
}

impl From<io::Error> for NoRequest {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl Request {
    /// Reads the next request; `buffer` holds what of it, and of the ones behind it, has arrived.
    pub(super) async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
    ) -> Result<Self, NoRequest> {
        let (request, head_length) = loop {
            if let Some(parsed) = Self::parse(buffer)? {
                break parsed;
            }
            if buffer.len() > HEAD_LIMIT {
                return Err(NoRequest::Bad(431));
            }
            if stream.read_buf(buffer).await? == 0 {
                return Err(NoRequest::Closed);
            }
        };
        buffer.drain(..head_length);
        if request.header("transfer-encoding").is_some() {
            return Err(NoRequest::Bad(411));
        }
        let mut body = match request.header("content-length") {
            None => 0,
            Some(text) => text.parse::<u64>().map_err(|_| NoRequest::Bad(400))?,
        };
        loop {
            let here = buffer
                .len()
                .min(usize::try_from(body).unwrap_or(usize::MAX));
            buffer.drain(..here);
            body -= here as u64;
            if body == 0 {
                return Ok(request);
            }
            if stream.read_buf(buffer).await? == 0 {
                return Err(NoRequest::Closed);
            }
        }
    }

    /// The request at the front of `buffer` and the length of its head, once that is whole.
    fn parse(buffer: &[u8]) -> Result<Option<(Self, usize)>, NoRequest> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let length = match head.parse(buffer) {
            Ok(Status::Complete(length)) if length > HEAD_LIMIT => return Err(NoRequest::Bad(431)),
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(NoRequest::Bad(431)),
            Err(_) => return Err(NoRequest::Bad(400)),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let request = Self {
            method: head.method.unwrap_or_default().to_owned(),
            target: head.path.unwrap_or_default().to_owned(),
            headers: head
                .headers
                .iter()
                .map(|h| (h.name.to_owned(), text(h.value)))
                .collect(),
            modern: head.version == Some(1),
        };
        Ok(Some((request, length)))
    }

    /// The value of the first header of this name, in any case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether a header holds `token` in its comma-separated list.
    pub(super) fn lists(&self, name: &str, token: &str) -> bool {
        let word = |item: &str| {
            item.split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .eq_ignore_ascii_case(token)
        };
        self.header(name)
            .is_some_and(|list| list.split(',').any(word))
    }

    /// Whether the connection is to be used again.
    pub(super) fn keeps_alive(&self) -> bool {
        let close = self.lists("connection", "close");
        if self.modern {
            !close
        } else {
            self.lists("connection", "keep-alive")
        }
    }

    /// The job whose status is asked for; None where the path is no status endpoint.
    pub(super) fn job(&self) -> Option<JobRef> {
        let path = self.target.split('?').next()?;
        let (kind, id) = path
            .strip_prefix("/cfp/v1/")?
            .strip_suffix("/status")?
            .split_once('/')?;
        let kind = match kind {
            "imagediff" => JobKind::Diff,
            "imageupdate" => JobKind::Update,
            _ => return None,
        };
        Some(JobRef {
            kind,
            id: id.parse().ok()?,
        })
    }

    /// The value of a query parameter.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// The words behind a status; empty where HTTP has none, which HTTP allows.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        411 => "Length Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Request {
        Request::parse(text.as_bytes()).unwrap().unwrap().0
    }

    fn asked(target: &str) -> Request {
        parsed(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    #[test]
    fn the_two_endpoints_name_a_job_and_nothing_else_does() {
        let job = |target: &str| asked(target).job().map(|job| job.to_string());
        assert_eq!(
            job("/cfp/v1/imagediff/1234/status?accountserviceid=1").unwrap(),
            "diff/1234"
        );
        assert_eq!(job("/cfp/v1/imageupdate/77/status").unwrap(), "update/77");
        for other in [
            "/",
            "/cfp/v1/imagediff/0/status",
            "/cfp/v1/imagediff/x/status",
            "/cfp/v1/imagediff/1/2/status",
            "/cfp/v1/images/1/status",
            "http://sim/cfp/v1/imagediff/1/status",
            "/cfp/v1/imagediff//status",
        ] {
            assert_eq!(job(other), None, "{other}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let request = asked("/x?accountserviceid=56%378&diff_info=1&a=b+c");
        assert_eq!(request.query("accountserviceid").unwrap(), "5678");
        assert_eq!(request.query("a").unwrap(), "b c");
        assert_eq!(request.query("b"), None);
    }

    #[test]
    fn a_connection_is_kept_as_its_version_and_header_say() {
        let keeps = |version: &str, header: &str| {
            parsed(&format!("GET / HTTP/{version}\r\n{header}\r\n")).keeps_alive()
        };
        assert!(keeps("1.1", ""));
        assert!(!keeps("1.1", "Connection: close\r\n"));
        assert!(!keeps("1.0", ""));
        assert!(keeps("1.0", "connection: Keep-Alive\r\n"));
    }

    proptest! {
        #[test]
        fn rubbish_is_refused_or_waited_on_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some((request, length))) = Request::parse(&bytes) {
                prop_assert!(length <= bytes.len());
                let _ = (request.job(), request.query("a"), request.keeps_alive());
            }
        }

        #[test]
        fn rubbish_behind_a_good_start_never_panics(tail in "[ -~\r\n]{0,200}") {
            let _ = Request::parse(format!("GET /cfp/v1/imagediff/{tail}").as_bytes()).map(|parsed| parsed.map(|p| p.0.job()));
        }
    }
}
