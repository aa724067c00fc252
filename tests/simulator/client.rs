//! A minimal HTTP client on a raw socket, to see exactly what the server sends.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use forgewatch_sim::Server;

/// Limit for one read.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A request with the default credentials.
pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic c2ltOnNpbQ==\r\n\r\n")
}

/// A response, its chunks joined, its content encoding as sent.
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl RawResponse {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One connection.
pub(crate) struct RawClient {
    stream: BufReader<TcpStream>,
    keys: String,
}

impl RawClient {
    pub(crate) fn new(server: &Server) -> Self {
        Self::at(server.addr())
    }

    pub(crate) fn at(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self {
            stream: BufReader::new(stream),
            keys: "sim:sim".to_owned(),
        }
    }

    pub(crate) fn with_keys(mut self, access: &str, secret: &str) -> Self {
        self.keys = format!("{access}:{secret}");
        self
    }

    /// Requests the status of a job, as the vendor documents it.
    pub(crate) fn status(&mut self, job: &str) -> RawResponse {
        let request = get(&format!("/cfp/v1/image{job}/status?accountserviceid=5678"));
        let keys = BASE64_STANDARD.encode(&self.keys);
        self.send(&request.replace("c2ltOnNpbQ==", &keys))
    }

    pub(crate) fn send(&mut self, request: &str) -> RawResponse {
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (status, headers) = self.head().unwrap();
        let mut response = RawResponse {
            status,
            headers,
            body: Vec::new(),
        };
        let body = self.body(&response);
        response.body = body.unwrap();
        response
    }

    /// Sends a request and reads until the connection ends; returns the bytes, and the error if there was one.
    pub(crate) fn until_closed(mut self, request: &str) -> (Vec<u8>, Option<ErrorKind>) {
        let _ = self.stream.get_mut().write_all(request.as_bytes());
        let mut bytes = Vec::new();
        let error = self.stream.read_to_end(&mut bytes).err().map(|e| e.kind());
        (bytes, error)
    }

    fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let first = self.line()?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .ok_or(ErrorKind::InvalidData)?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else {
                return Ok((status, headers));
            };
            headers.push((name.to_owned(), value.to_owned()));
        }
    }

    fn body(&mut self, response: &RawResponse) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if response.header("transfer-encoding").is_some() {
            while let Some(size) = self.chunk_size()? {
                (&mut self.stream).take(size).read_to_end(&mut body)?;
                self.line()?;
            }
        } else if let Some(length) = response.header("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.stream.read_exact(&mut body)?;
        }
        Ok(body)
    }

    /// The size of the next chunk; None at the last one.
    fn chunk_size(&mut self) -> io::Result<Option<u64>> {
        let size = u64::from_str_radix(&self.line()?, 16).map_err(|_| ErrorKind::InvalidData)?;
        if size == 0 {
            self.line()?;
        }
        Ok((size > 0).then_some(size))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}
