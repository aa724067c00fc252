//! Invalid bodies with their errors, and the limits.

use super::*;

#[test]
fn invalid_json_is_an_error_with_offset_and_expectation() {
    let cases: [(&[u8], &str); 34] = [
        (
            b"",
            "at byte 0: expected a JSON object, found the end of the response",
        ),
        (
            b" \n",
            "at byte 2: expected a JSON object, found the end of the response",
        ),
        (b"<html>", "at byte 0: expected a JSON object, found '<'"),
        (
            b"\xef\xbb\xbf\xef\xbb\xbf{}",
            "at byte 3: expected a JSON object, found byte 0xef",
        ),
        (
            b" \xef\xbb\xbf{}",
            "at byte 1: expected a JSON object, found byte 0xef",
        ),
        (
            b"\xef\xbb{}",
            "at byte 2: expected a JSON object, found '{'",
        ),
        (b"[{}]", "at byte 0: expected a JSON object, found '['"),
        (b"null", "at byte 0: expected a JSON object, found 'n'"),
        (
            b"{} {}",
            "at byte 3: expected the end of the response, found '{'",
        ),
        (
            b"{}\0",
            "at byte 2: expected the end of the response, found byte 0x00",
        ),
        (b"{1:2}", "at byte 1: expected a key or '}', found '1'"),
        (b"{,}", "at byte 1: expected a key or '}', found ','"),
        (b"{\"a\":1,}", "at byte 7: expected a key, found '}'"),
        (b"{\"a\" 1}", "at byte 5: expected ':', found '1'"),
        (b"{\"a\":}", "at byte 5: expected a value, found '}'"),
        (
            b"{\"a\":1 \"b\"",
            "at byte 7: expected ',' or '}', found '\"'",
        ),
        (b"{\"a\":1]", "at byte 6: expected ',' or '}', found ']'"),
        (
            b"{\"a\":[,",
            "at byte 6: expected a value or ']', found ','",
        ),
        (b"{\"a\":[1,]", "at byte 8: expected a value, found ']'"),
        (b"{\"a\":[1}", "at byte 7: expected ',' or ']', found '}'"),
        (b"{\"a\":01}", "at byte 6: expected ',' or '}', found '1'"),
        (b"{\"a\":1.}", "at byte 7: expected a digit, found '}'"),
        (b"{\"a\":1.e5}", "at byte 7: expected a digit, found 'e'"),
        (b"{\"a\":+1}", "at byte 5: expected a value, found '+'"),
        (b"{\"a\":.5}", "at byte 5: expected a value, found '.'"),
        (b"{\"a\":-}", "at byte 6: expected a digit, found '}'"),
        (
            b"{\"a\":1e}",
            "at byte 7: expected a sign or a digit, found '}'",
        ),
        (b"{\"a\":1e+}", "at byte 8: expected a digit, found '}'"),
        (b"{\"a\":NaN}", "at byte 5: expected a value, found 'N'"),
        (b"{\"a\":trUe}", "at byte 7: expected true, found 'U'"),
        (b"{\"a\":fals}", "at byte 9: expected false, found '}'"),
        (
            b"{\"a\":nul",
            "at byte 8: expected null, found the end of the response",
        ),
        (
            b"{\"a\":\"x",
            "at byte 7: expected the closing quote of a string, found the end of the response",
        ),
        (
            b"{\"a\":12",
            "at byte 7: expected the rest of a number, found the end of the response",
        ),
    ];
    for (body, message) in cases {
        assert_eq!(error(body), message, "{}", body.escape_ascii());
    }
}

#[test]
fn any_bytes_in_a_string_are_text() {
    for (raw, text) in [
        (&b"boom \\ud83d"[..], "boom \u{fffd}"),
        (b"\\ud83d\\ud83d\\ude80", "\u{fffd}\u{1f680}"),
        (b"\\ud83d\\u0041", "\u{fffd}A"),
        (b"\\ud83d\\n\\ude80x", "\u{fffd}\n\u{fffd}x"),
        (b"\\u12g4\\ud83d\\u1\\\"", "\u{fffd}g4\u{fffd}\u{fffd}\""),
        (b"C:\\maps\\\\x", "C:\\maps\\x"),
        (b"caf\xe9", "caf\u{fffd}"),
        (b"\x8eG\x8d\xf4", "\u{fffd}G\u{fffd}\u{fffd}"),
        (b"\xf0\x9f\x9a\xc3\xa9", "\u{fffd}\u{e9}"),
        (b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
        (b"two\nlines\0\x1b\x7f", "two\nlines\0\u{1b}\u{7f}"),
    ] {
        let body = [&br#"{"jobprogress":100,"joberror":""#[..], raw, b"\"}"].concat();
        assert_eq!(
            status(&body).error.as_deref(),
            Some(text),
            "{}",
            raw.escape_ascii()
        );
        for (front, close) in [
            (r#"{"jobprogress":100,"other":""#, "\"}"),
            (r#"{"jobprogress":100,"x":[[""#, "\"]]}"),
            (r#"{"jobprogress":100,"added":{"a":{"size":""#, "\"}}}"),
        ] {
            let body = [front.as_bytes(), raw, close.as_bytes()].concat();
            assert_eq!(
                status(&body).progress,
                Some(100.0),
                "{}",
                body.escape_ascii()
            );
        }
        let body = [
            &br#"{"added":{""#[..],
            raw,
            br#"":{"size":3}},"jobprogress":100}"#,
        ]
        .concat();
        assert_eq!(status(&body).files.unwrap().added.bytes, 3);
    }
}

#[test]
fn a_byte_order_mark_before_the_object_is_skipped() {
    assert_eq!(status("\u{feff} {\"jobprogress\":7}").progress, Some(7.0));
}

#[test]
fn a_truncated_body_is_an_error_at_its_end() {
    let body = r#" {"jobprogress":4.5e1,"added":{"a\u00e9/é":{"size":"5"}},"x":[true,null],"jobfailed":false}"#;
    for end in 0..body.len() {
        let error = in_chunks([&body.as_bytes()[..end]]).unwrap_err();
        assert_eq!((error.at, error.found), (end as u64, None));
    }
    assert!(in_chunks([body.as_bytes(), b" \r\n\t"]).is_ok());
}

#[test]
fn nesting_is_limited_to_128_levels() {
    let nested = |lists: usize| {
        format!(
            r#"{{"jobfailed":0,"x":{}{}}}"#,
            "[".repeat(lists),
            "]".repeat(lists)
        )
    };
    assert!(decode(nested(127)).is_ok());
    let message = "at byte 146: expected at most 128 levels of nesting, found '['";
    assert_eq!(error(nested(128)), message);
    assert_eq!(error(nested(1000)), message);
}

#[test]
fn an_error_is_final() {
    let mut decoder = Decoder::new();
    let error = decoder.push(b"{]").unwrap_err();
    assert_eq!(decoder.push(b"\"jobfailed\":0}"), Err(error));
    assert_eq!(decoder.finish(), Err(error));
}

#[test]
fn long_texts_are_cut_at_a_character_and_long_numbers_are_ignored() {
    let limit = 8 << 10;
    let fits = "x".repeat(limit);
    assert_eq!(
        with("joberror", &format!("\"{fits}\"")).error,
        Some(fits.clone())
    );
    assert_eq!(
        with("joberror", &format!("\"{fits}y\"")).error,
        Some(fits.clone())
    );
    let wide = format!("\"{}é\"", &fits[1..]);
    assert_eq!(with("joberror", &wide).error.unwrap(), fits[1..]);

    let digits = format!("0.{}", "1".repeat(limit));
    assert_eq!(with("jobprogress", &digits).progress, None);
    assert_eq!(
        with("jobprogress", &digits[..limit]).progress,
        Some(0.111_111_11)
    );
}

#[test]
fn memory_stays_bounded_whatever_is_sent() {
    let mut decoder = Decoder::new();
    decoder.push(br#"{"jobfailed":0,"joberror":""#).unwrap();
    let megabyte = vec![b'7'; 1 << 20];
    for front in [r#"","jobprogress":"#, r#","added":{""#] {
        (0..4).for_each(|_| decoder.push(&megabyte).unwrap());
        decoder.push(front.as_bytes()).unwrap();
    }
    (0..4).for_each(|_| decoder.push(&megabyte).unwrap());
    assert!(decoder.lexer.text_capacity() <= 2 * (8 << 10));
    decoder.push(br#"":0}}"#).unwrap();
    let Ok(DecodedBody::Status(status)) = decoder.finish() else {
        panic!("not a status");
    };
    assert_eq!(status.error.map(|text| text.len()), Some(8 << 10));
    assert_eq!(status.progress, None);
    assert_eq!(status.files.map(|files| files.added.count), Some(1));
}

#[test]
fn an_error_shows_at_most_one_byte() {
    let message = |found| {
        let error = DecodeError {
            at: 17,
            expected: "a value",
            found,
        };
        error.to_string()
    };
    assert_eq!(
        message(Some(b',')),
        "at byte 17: expected a value, found ','"
    );
    assert_eq!(
        message(Some(b'\x1b')),
        "at byte 17: expected a value, found byte 0x1b"
    );
    assert_eq!(
        message(Some(0xff)),
        "at byte 17: expected a value, found byte 0xff"
    );
    assert_eq!(
        message(None),
        "at byte 17: expected a value, found the end of the response"
    );
}
