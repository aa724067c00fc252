//! Reads HTTP/1.1 requests.

use std::io;

use httparse::Status;
use tokio::io::{AsyncRead, AsyncReadExt};

use forgewatch_core::job::{JobKind, JobRef};

/// In bytes.
pub(crate) const HEAD_LIMIT: usize = 64 * 1024;

const MAX_HEADERS: usize = 200;

/// A request; its body has been read and discarded.
#[derive(Clone, Debug)]
pub(crate) struct HttpRequest {
    pub(crate) method: String,
    /// As sent: path and query, or a whole URL from a client that uses the server as a proxy.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) is_http_1_1: bool,
}

#[derive(Debug)]
pub(crate) enum RequestError {
    Closed,
    /// Not valid HTTP/1: respond with this status, then close.
    Invalid(u16),
}

impl From<io::Error> for RequestError {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl HttpRequest {
    /// Reads the next request; `buffer` holds bytes that have arrived already, of this request and later ones.
    pub(crate) async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
    ) -> Result<Self, RequestError> {
        let (request, head_length) = loop {
            if let Some(parsed) = Self::parse(buffer)? {
                break parsed;
            }
            if buffer.len() > HEAD_LIMIT {
                return Err(RequestError::Invalid(431));
            }
            if stream.read_buf(buffer).await? == 0 {
                return Err(RequestError::Closed);
            }
        };
        buffer.drain(..head_length);
        if request.header("transfer-encoding").is_some() {
            return Err(RequestError::Invalid(411));
        }
        let mut body = match request.header("content-length") {
            None => 0,
            Some(text) => text
                .parse::<u64>()
                .map_err(|_| RequestError::Invalid(400))?,
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
                return Err(RequestError::Closed);
            }
        }
    }

    /// The request at the front of `buffer` and the length of its head, once the head is complete.
    fn parse(buffer: &[u8]) -> Result<Option<(Self, usize)>, RequestError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let length = match head.parse(buffer) {
            Ok(Status::Complete(length)) if length > HEAD_LIMIT => {
                return Err(RequestError::Invalid(431));
            }
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(RequestError::Invalid(431)),
            Err(_) => return Err(RequestError::Invalid(400)),
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
            is_http_1_1: head.version == Some(1),
        };
        Ok(Some((request, length)))
    }

    /// The value of the first header of this name, ignoring case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Whether the comma-separated list of a header contains `token`.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
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

    pub(crate) fn keeps_alive(&self) -> bool {
        let close = self.lists("connection", "close");
        if self.is_http_1_1 {
            !close
        } else {
            self.lists("connection", "keep-alive")
        }
    }

    /// The job in the address; None if that is not a status endpoint. The ID of an update may be in the query.
    pub(crate) fn job(&self) -> Option<JobRef> {
        let path = self.target.split('?').next()?;
        if self.has_id_in_query() {
            return Some(JobRef {
                kind: JobKind::Update,
                id: self.query("updateid")?.parse().ok()?,
            });
        }
        let (kind, id) = path
            .strip_prefix("/cfp/v1/")?
            .strip_suffix("/status")?
            .split_once('/')?;
        Some(JobRef {
            kind: JobKind::ALL.into_iter().find(|k| k.endpoint() == kind)?,
            id: id.parse().ok()?,
        })
    }

    /// Whether this is the other address of an update's status, whose ID is in the query.
    pub(crate) fn has_id_in_query(&self) -> bool {
        self.target.split('?').next() == Some("/cfp/v1/imageupdate/status")
    }

    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.into_owned())
    }
}

#[derive(Clone, Debug)]
pub struct LoggedRequest {
    /// Time of arrival, in milliseconds since the server's start.
    pub at: u64,
    /// The job in the address, if any; it need not be in the script.
    pub job: Option<JobRef>,
    /// Number of this request among those for the same job (or for no job), from 1.
    pub n: u64,
    pub method: String,
    /// Path and query as sent, or a whole URL from a client that uses the server as a proxy.
    pub target: String,
    /// In the order sent, credentials included.
    pub headers: Vec<(String, String)>,
    /// The status sent, and what happened on the wire, such as `200, delayed`.
    pub served: String,
}

impl LoggedRequest {
    /// The value of the first header of this name, ignoring case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// The reason phrase of a status; HTTP allows an empty one.
pub(crate) fn reason_phrase(status: u16) -> &'static str {
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

    fn parsed(text: &str) -> HttpRequest {
        HttpRequest::parse(text.as_bytes()).unwrap().unwrap().0
    }

    fn get(target: &str) -> HttpRequest {
        parsed(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    #[test]
    fn only_the_two_status_endpoints_name_a_job() {
        let job = |target: &str| get(target).job().map(|job| job.to_string());
        assert_eq!(
            job("/cfp/v1/imagediff/1234/status?accountserviceid=1").unwrap(),
            "diff/1234"
        );
        assert_eq!(job("/cfp/v1/imageupdate/77/status").unwrap(), "update/77");
        let version = "/cfp/v1/imageversion/5/status?accountserviceid=1";
        assert_eq!(job(version).unwrap(), "version/5");
        let in_query = "/cfp/v1/imageupdate/status?accountserviceid=1&updateid=77";
        assert_eq!(job(in_query).unwrap(), "update/77");
        for other in [
            "/",
            "/cfp/v1/imagediff/0/status",
            "/cfp/v1/imagediff/x/status",
            "/cfp/v1/imagediff/1/2/status",
            "/cfp/v1/images/1/status",
            "http://sim/cfp/v1/imagediff/1/status",
            "/cfp/v1/imagediff//status",
            "/cfp/v1/imageupdate/status",
            "/cfp/v1/imageupdate/status?updateid=0",
            "/cfp/v1/imagediff/status?diffid=1",
            "/cfp/v1/imageversion/status?imageversionid=5",
        ] {
            assert_eq!(job(other), None, "{other}");
        }
    }

    #[test]
    fn query_parameters_are_decoded() {
        let request = get("/x?accountserviceid=56%378&diff_info=1&a=b+c");
        assert_eq!(request.query("accountserviceid").unwrap(), "5678");
        assert_eq!(request.query("a").unwrap(), "b c");
        assert_eq!(request.query("b"), None);
    }

    #[test]
    fn keep_alive_follows_http_version_and_connection_header() {
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
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some((request, length))) = HttpRequest::parse(&bytes) {
                prop_assert!(length <= bytes.len());
                let _ = (request.job(), request.query("a"), request.keeps_alive());
            }
        }

        #[test]
        fn arbitrary_text_after_a_valid_start_never_panics(tail in "[ -~\r\n]{0,200}") {
            let _ = HttpRequest::parse(format!("GET /cfp/v1/imagediff/{tail}").as_bytes()).map(|parsed| parsed.map(|p| p.0.job()));
        }
    }
}
