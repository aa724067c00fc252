//! Invalid bodies with their errors, and the limits.

use super::*;

#[test]
fn invalid_json_is_an_error_with_offset_and_expectation() {
    let cases: [(&[u8], &str); 35] = [
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
            b"\xef\xbb\xbf{}",
            "at byte 0: expected a JSON object, found byte 0xef",
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
            "at byte 7: expected the text of a string or its closing quote, found the end of the response",
        ),
        (
            b"{\"a\":\"\n\"}",
            "at byte 6: expected the text of a string or its closing quote, found byte 0x0a",
        ),
        (
            b"{\"a\":\"\\x\"}",
            "at byte 7: expected an escape (one of \"\\/bfnrtu), found 'x'",
        ),
        (
            b"{\"a\":\"\\u00g0\"}",
            "at byte 10: expected a hexadecimal digit, found 'g'",
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
fn invalid_utf8_is_an_error_in_keys_and_values_even_if_skipped() {
    for (invalid, offset, expected) in [
        (
            &b"\xff"[..],
            0,
            "the text of a string or its closing quote, found byte 0xff",
        ),
        (
            b"\x80",
            0,
            "the text of a string or its closing quote, found byte 0x80",
        ),
        (
            b"\xc0\x80",
            0,
            "the text of a string or its closing quote, found byte 0xc0",
        ),
        (
            b"\xc3\"",
            1,
            "the next byte of a UTF-8 character, found '\"'",
        ),
        (
            b"\xed\xa0\x80",
            1,
            "the next byte of a UTF-8 character, found byte 0xa0",
        ),
        (
            b"\xf0\x9f\x9a\xc0",
            3,
            "the next byte of a UTF-8 character, found byte 0xc0",
        ),
        (b"\\ud800", 6, "a surrogate pair, found '\"'"),
        (b"\\ud800\\n", 7, "a surrogate pair, found 'n'"),
        (b"\\ud800\\u0041", 11, "a surrogate pair, found '1'"),
        (b"\\udc00", 5, "a surrogate pair, found '0'"),
    ] {
        for front in [
            r#"{"jobstatename":""#,
            r#"{"other":""#,
            r#"{""#,
            r#"{"added":{""#,
            r#"{"added":{"a":{"size":""#,
            r#"{"x":[[""#,
        ] {
            let body = [front.as_bytes(), invalid, b"\""].concat();
            let message = format!("at byte {}: expected {expected}", front.len() + offset);
            assert_eq!(error(&body), message, "{}", body.escape_ascii());
        }
    }
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
fn nesting_is_limited_to_32_levels() {
    let nested = |lists: usize| {
        format!(
            r#"{{"jobfailed":0,"x":{}{}}}"#,
            "[".repeat(lists),
            "]".repeat(lists)
        )
    };
    assert!(decode(nested(31)).is_ok());
    let message = "at byte 50: expected at most 32 levels of nesting, found '['";
    assert_eq!(error(nested(32)), message);
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
