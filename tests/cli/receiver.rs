//! A receiver of webhooks that sends raw responses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A received request.
#[derive(Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) head: Vec<String>,
    pub(crate) body: String,
}

impl ReceivedRequest {
    pub(crate) fn header(&self, name: &str) -> &str {
        let find = |line: &String| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        let line = self.head.iter().find(|line| find(line));
        line.and_then(|line| line.split_once(':'))
            .map_or("", |(_, value)| value.trim())
    }
}

/// A receiver that sends these responses, one per connection, and repeats the last.
pub(crate) struct WebhookReceiver {
    pub(crate) url: String,
    pub(crate) requests: Receiver<ReceivedRequest>,
}

pub(crate) fn receive(responses: Vec<String>) -> WebhookReceiver {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/canary-path", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    thread::spawn(move || serve(&listener, &responses, &sender));
    WebhookReceiver { url, requests }
}

fn serve(listener: &TcpListener, responses: &[String], sender: &Sender<ReceivedRequest>) {
    let mut responses = responses.iter();
    let mut response = responses.next().unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let mut request = ReceivedRequest {
            head,
            body: String::new(),
        };
        let length = request.header("content-length").parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        request.body = String::from_utf8(body).unwrap();
        stream.write_all(response.as_bytes()).unwrap();
        if sender.send(request).is_err() {
            return;
        }
        response = responses.next().unwrap_or(response);
    }
}

pub(crate) fn response(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n")
}

/// A response with a body.
pub(crate) fn response_with(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}
