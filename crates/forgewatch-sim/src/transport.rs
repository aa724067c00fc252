//! Sends a response, with the delays and broken connections of the script.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::body::Body;
use crate::http::reason_phrase;

#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    /// Without `Content-Length`, `Transfer-Encoding` and `Connection`.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

impl HttpResponse {
    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What happens to a response on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Transport {
    /// Time before the first byte.
    pub(crate) delay: Duration,
    /// So many bytes at a time, with a pause after each.
    pub(crate) pace: Option<(usize, Duration)>,
    pub(crate) early_close: Option<EarlyClose>,
}

/// The connection ends before the response does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EarlyClose {
    /// Bytes of the response, its head included.
    pub(crate) after: u64,
    /// With RST instead of FIN.
    pub(crate) reset: bool,
}

/// The framing that the request allows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Framing {
    /// The client understands chunked bodies (HTTP/1.1).
    pub(crate) chunked: bool,
    pub(crate) keep_alive: bool,
    pub(crate) head_only: bool,
}

/// Returns whether the connection can take another request.
pub(crate) async fn send(
    stream: &mut TcpStream,
    mut response: HttpResponse,
    framing: Framing,
    transport: Transport,
) -> io::Result<bool> {
    if !transport.delay.is_zero() {
        tokio::time::sleep(transport.delay).await;
    }
    let length = response.body.length();
    let chunked = length.is_none() && framing.chunked;
    let keep_alive =
        framing.keep_alive && transport.early_close.is_none() && (length.is_some() || chunked);
    let mut wire = ResponseWriter {
        stream,
        sent: 0,
        transport,
    };
    let whole = wire
        .send_all(&head(&response, length, chunked, keep_alive))
        .await?;
    let bodiless = framing.head_only || is_bodiless(response.status);
    if whole && !bodiless {
        send_body(&mut wire, &mut response.body, chunked).await?;
    }
    match transport.early_close {
        Some(early_close) if early_close.reset => stream.set_zero_linger()?,
        _ if keep_alive => {}
        _ => stream.shutdown().await?,
    }
    Ok(keep_alive)
}

fn head(response: &HttpResponse, length: Option<u64>, chunked: bool, keep_alive: bool) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 {} {}\r\n",
        response.status,
        reason_phrase(response.status)
    );
    for (name, value) in &response.headers {
        head.extend([name, ": ", value.as_str(), "\r\n"]);
    }
    match length {
        Some(_) if is_bodiless(response.status) => {}
        Some(length) => head.extend(["Content-Length: ", &length.to_string(), "\r\n"]),
        None if chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        None => {}
    }
    head.push_str(if keep_alive {
        "\r\n"
    } else {
        "Connection: close\r\n\r\n"
    });
    head.into_bytes()
}

async fn send_body(
    wire: &mut ResponseWriter<'_>,
    body: &mut Body,
    chunked: bool,
) -> io::Result<()> {
    while let Some(bytes) = body.next()? {
        let piece = if chunked { chunk(&bytes) } else { bytes };
        if !wire.send_all(&piece).await? {
            return Ok(());
        }
    }
    if chunked {
        wire.send_all(b"0\r\n\r\n").await?;
    }
    Ok(())
}

/// Responses with these statuses have neither body nor length.
fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 304)
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// Counts the bytes that it sends.
struct ResponseWriter<'a> {
    stream: &'a mut TcpStream,
    sent: u64,
    transport: Transport,
}

impl ResponseWriter<'_> {
    /// False once the connection is to be closed early.
    async fn send_all(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        if let Some(early_close) = self.transport.early_close {
            let left = usize::try_from(early_close.after - self.sent).unwrap_or(usize::MAX);
            bytes = bytes.get(..left).unwrap_or(bytes);
        }
        self.sent += bytes.len() as u64;
        match self.transport.pace {
            None => self.stream.write_all(bytes).await?,
            Some((at_once, pause)) => {
                for part in bytes.chunks(at_once) {
                    self.stream.write_all(part).await?;
                    tokio::time::sleep(pause).await;
                }
            }
        }
        Ok(self
            .transport
            .early_close
            .is_none_or(|early_close| self.sent < early_close.after))
    }
}
