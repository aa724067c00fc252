//! Odd but readable responses: the job ends as it should, and what is wrong is named.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::fixture::{CliOutput, Sandbox, read_head};

const DONE: &str = r#"{"jobprogress":100}"#;

/// A server that sends the same bytes to every request and closes the connection, until the process ends.
fn serve(response: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            read_head(&mut stream);
            let _ = stream.write_all(&response);
        }
    });
    address
}

/// Runs a watch of update/77 against a server that sends these bytes.
fn watch_raw(response: Vec<u8>) -> CliOutput {
    let base = format!("http://{}", serve(response));
    Sandbox::new()
        .watch_at(&base, &["--give-up-after", "200ms", "update/77"])
        .run()
}

/// The same with these header lines before the body.
fn watch_with(status: &str, headers: &[u8], body: &[u8]) -> CliOutput {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    watch_raw([head.as_bytes(), headers, b"\r\n", body].concat())
}

fn watch_body(body: &[u8]) -> CliOutput {
    watch_with("200 OK", b"", body)
}

#[track_caller]
fn expect_error(done: CliOutput, kind: &str, message: &str) {
    let end = done.expect(6).end_of("update/77");
    assert_eq!(end["error_kind"], kind, "{end}");
    let text = end["error_message"].as_str().unwrap();
    assert!(text.contains(message), "{text}");
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_text_that_is_not_valid_never_hides_the_end() {
    for (error, message) in [
        (&br"boom \ud83d"[..], "boom \u{fffd}"),
        (b"caf\xe9", "caf\u{fffd}"),
        (b"\x8e\xb8\x94s", "\u{fffd}\u{fffd}\u{fffd}s"),
        (br"C:\maps \u12", "C:\\maps \u{fffd}"),
    ] {
        let body = [&br#"{"jobfailed":1,"joberror":""#[..], error, b"\"}"].concat();
        let end = watch_body(&body).expect(1).end_of("update/77");
        assert_eq!(end["error_message"], message);
    }
    let deep = format!(
        r#"{{"x":{}{},"jobprogress":100}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    for body in [
        &b"\xef\xbb\xbf{\"jobprogress\":100}"[..],
        b"{\"added\":{\"a\x01\xff/\xe9\":{\"size\":1}},\"jobprogress\":100}",
        deep.as_bytes(),
    ] {
        watch_body(body).expect(0);
    }
}

#[test]
fn jobfailed_is_read_as_a_word_and_as_an_empty_list() {
    for (value, status) in [("\"true\"", 1), ("\"false\"", 0), ("[]", 0)] {
        let body = format!(r#"{{"jobprogress":100,"jobfailed":{value}}}"#);
        watch_body(body.as_bytes()).expect(status);
    }
    expect_error(
        watch_body(br#"{"jobprogress":100,"jobfailed":["x"]}"#),
        "bad_response",
        "jobfailed",
    );
}

#[test]
fn a_response_that_calls_itself_an_error_is_one_whatever_stands_beside_it() {
    for body in [
        r#"{"jobprogress":100,"success":false,"error_message":"locked"}"#,
        r#"{"success":"false","error_message":"locked","jobstateid":5,"jobfailed":0}"#,
        r#"{"jobprogress":100,"success":0,"error":"locked"}"#,
        r#"{"error":true,"error_message":"locked","jobprogress":100}"#,
        r#"{"jobprogress":100,"error":1,"joberror":"locked"}"#,
        r#"{"jobprogress":100,"error":"true","error_message":"locked"}"#,
        r#"{"error_message":"locked","jobprogress":null,"jobfailed":null,"jobstateid":null}"#,
        r#"{"error_code":3,"error_message":"locked","jobprogress":0,"jobfailed":0,"jobstateid":0}"#,
    ] {
        expect_error(watch_body(body.as_bytes()), "api_error", "locked");
    }
    for fields in [
        r#""success":true,"error":false"#,
        r#""success":null,"error":null"#,
        r#""success":"","error":"","error_message":"""#,
        r#""success":"true","error":"false","error_code":0"#,
        r#""success":1,"error":0"#,
    ] {
        watch_body(format!(r#"{{{fields},"jobprogress":100}}"#).as_bytes()).expect(0);
    }
    for job in [r#""jobfailed":1"#, r#""jobstateid":6"#] {
        let body = format!(r#"{{"success":false,"error_message":"disk full",{job}}}"#);
        let end = watch_body(body.as_bytes()).expect(1).end_of("update/77");
        assert_eq!(end["error_message"], "disk full");
    }
}

#[test]
fn a_response_about_another_job_is_a_bad_response_that_names_both() {
    for id in ["78", "\"78\"", "78.0"] {
        let body = format!(r#"{{"updateid":{id},"jobprogress":100}}"#);
        let message = "about update/78 instead of update/77";
        expect_error(watch_body(body.as_bytes()), "bad_response", message);
    }
    for field in [
        r#""updateid":77"#,
        r#""updateid":"77""#,
        r#""updateid":null"#,
        r#""updateid":0"#,
        r#""updateid":[78]"#,
        r#""updateid":"build 78""#,
        r#""diffid":78"#,
        r#""imageversionid":78"#,
    ] {
        watch_body(format!(r#"{{{field},"jobprogress":100}}"#).as_bytes()).expect(0);
    }
}

#[test]
fn the_id_in_a_response_is_compared_with_that_of_a_job_of_the_same_kind_only() {
    let watch = |job: &str, field: &str| {
        let body = format!(r#"{{"{field}":78,"jobprogress":100}}"#);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let base = format!("http://{}", serve((head + &body).into_bytes()));
        let args = ["--give-up-after", "200ms", job];
        Sandbox::new().watch_at(&base, &args).run()
    };
    let fields = ["diffid", "updateid", "imageversionid"];
    for (kind, own) in ["diff", "update", "version"].into_iter().zip(fields) {
        for field in fields {
            if field == own {
                watch(&format!("{kind}/78"), field).expect(0);
                let job = format!("{kind}/5");
                let end = watch(&job, field).expect(6).end_of(&job);
                let message = format!("about {kind}/78 instead of {job}");
                assert_eq!(end["error_kind"], "bad_response", "{end}");
                assert!(
                    end["error_message"].as_str().unwrap().contains(&message),
                    "{end}"
                );
            } else {
                watch(&format!("{kind}/5"), field).expect(0);
            }
        }
    }
}

#[test]
fn odd_header_lines_are_skipped() {
    let many: Vec<u8> = (0..500)
        .flat_map(|n| format!("X-{n}: x\r\n").into_bytes())
        .collect();
    for headers in [
        &b"Warning: Undefined variable $x in /srv/api.php on line 7\r\n"[..],
        b"<br />\r\n",
        b"X-Name: a\x7fb\r\n",
        b"X-Name: a\x01b\r\n",
        b"X-Name: caf\xe9\r\n",
        b"X-Name : a\r\n",
        b"X-Name: a\r\n  folded\r\n",
        b"X Name: a\r\n",
        &many,
    ] {
        let done = watch_with("200 OK", headers, DONE.as_bytes());
        assert_eq!(done.status, 0, "{}: {done:?}", headers.escape_ascii());
    }
}

#[test]
fn a_response_that_cannot_be_read_is_a_bad_response() {
    let lengths = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n{}  ";
    for response in [
        &b"SSH-2.0-OpenSSH_9.6\r\n"[..],
        b"HTTP/7 200 OK\r\n\r\n",
        lengths,
    ] {
        expect_error(
            watch_raw(response.to_vec()),
            "bad_response",
            "invalid HTTP response",
        );
    }
}

#[test]
fn gzip_is_read_in_members_and_by_every_name() {
    let members = [gzip(&DONE.as_bytes()[..7]), gzip(&DONE.as_bytes()[7..])].concat();
    for name in [
        "gzip",
        "x-gzip",
        "GZIP",
        "gzip, identity",
        "identity, X-GZIP",
    ] {
        for body in [&gzip(DONE.as_bytes()), &members] {
            let header = format!("Content-Encoding: {name}\r\n");
            let done = watch_with("200 OK", header.as_bytes(), body);
            assert_eq!(done.status, 0, "{name}: {done:?}");
        }
    }
    let envelope = gzip(br#"{"error":true,"error_message":"image locked"}"#);
    expect_error(
        watch_with("500 Error", b"Content-Encoding: x-gzip\r\n", &envelope),
        "server",
        "image locked",
    );
    expect_error(
        watch_with("200 OK", b"Content-Encoding: br\r\n", DONE.as_bytes()),
        "bad_response",
        "unknown content encoding br",
    );
    expect_error(
        watch_with("200 OK", b"Content-Encoding: x-gzip\r\n", DONE.as_bytes()),
        "bad_response",
        "could not decompress",
    );
}

#[test]
fn a_status_counts_with_any_2xx_of_a_whole_body() {
    for status in [
        "200 OK",
        "201 Created",
        "202 Accepted",
        "203 Non-Authoritative",
        "299 X",
    ] {
        watch_with(status, b"", DONE.as_bytes()).expect(0);
    }
    let done = watch_with("203 Non-Authoritative", b"", b"<html>");
    expect_error(done, "bad_response", "expected a JSON object");
    let done = watch_with("206 Partial Content", b"", DONE.as_bytes());
    expect_error(done, "http", "206");
}

#[test]
fn a_connection_that_breaks_after_the_whole_object_has_no_effect() {
    let cut = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{body}");
    watch_raw(cut(DONE).into_bytes()).expect(0);
    expect_error(
        watch_raw(cut(r#"{"jobprogress":100"#).into_bytes()),
        "disconnected",
        "connection lost",
    );
}
