//! Sends a response as badly as the script wants.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::body::Body;
use super::http::reason;

/// A response before it is framed.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Besides those of the framing.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

/// How a response travels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Transport {
    /// Nothing is sent for so long.
    pub(super) delay: Duration,
    /// So many bytes at a time, and a pause after each.
    pub(super) pace: Option<(usize, Duration)>,
    /// The connection ends after so many bytes.
    pub(super) cut: Option<Cut>,
}

/// Where and how a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    /// Bytes of the response, its head included.
    pub(super) after: u64,
    /// With RST rather than FIN.
    pub(super) reset: bool,
}

/// What the request allows the response to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framing {
    /// Chunked bodies are understood (HTTP/1.1).
    pub(super) chunked: bool,
    pub(super) keep_alive: bool,
    /// The head alone (HEAD).
    pub(super) head_only: bool,
}

/// Sends `response`. True when the connection can take another request.
pub(super) async fn send(
    stream: &mut TcpStream,
    mut response: Response,
    framing: Framing,
    manner: Transport,
) -> io::Result<bool> {
    if !manner.delay.is_zero() {
        tokio::time::sleep(manner.delay).await;
    }
    let length = response.body.length();
    let chunked = length.is_none() && framing.chunked;
    let keep_alive = framing.keep_alive && manner.cut.is_none() && (length.is_some() || chunked);
    let mut wire = Wire {
        stream,
        sent: 0,
        manner,
    };
    let whole = wire
        .send_all(&head(&response, length, chunked, keep_alive))
        .await?;
    let bodiless = framing.head_only || is_bodiless(response.status);
    if whole && !bodiless {
        send_body(&mut wire, &mut response.body, chunked).await?;
    }
    match manner.cut {
        Some(cut) if cut.reset => stream.set_zero_linger()?,
        _ if keep_alive => {}
        _ => stream.shutdown().await?,
    }
    Ok(keep_alive)
}

fn head(response: &Response, length: Option<u64>, chunked: bool, keep_alive: bool) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 {} {}\r\n",
        response.status,
        reason(response.status)
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

async fn send_body(wire: &mut Wire<'_>, body: &mut Body, chunked: bool) -> io::Result<()> {
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

/// Statuses whose responses have neither body nor length.
fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 304)
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// A connection that counts what it sends.
struct Wire<'a> {
    stream: &'a mut TcpStream,
    sent: u64,
    manner: Transport,
}

impl Wire<'_> {
    /// Sends `bytes` up to the cut, at the pace. False once the cut is reached.
    async fn send_all(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        if let Some(cut) = self.manner.cut {
            let left = usize::try_from(cut.after - self.sent).unwrap_or(usize::MAX);
            bytes = bytes.get(..left).unwrap_or(bytes);
        }
        self.sent += bytes.len() as u64;
        match self.manner.pace {
            None => self.stream.write_all(bytes).await?,
            Some((at_once, pause)) => {
                for part in bytes.chunks(at_once) {
                    self.stream.write_all(part).await?;
                    tokio::time::sleep(pause).await;
                }
            }
        }
        Ok(self.manner.cut.is_none_or(|cut| self.sent < cut.after))
    }
}
