//! Bodies that are a status, an error envelope, or neither.

use super::*;

#[test]
fn the_error_envelope_is_an_api_error() {
    let body = r#"{"success": false, "error": true, "error_code": 1,
        "error_message": "image locked by diffid: 218595", "messages": [], "_debug": []}"#;
    let expected = ApiError {
        code: Some(1),
        message: "image locked by diffid: 218595".to_owned(),
    };
    assert_eq!(api_error(body), expected);
}

#[test]
fn any_field_of_an_error_makes_an_envelope() {
    for (body, code, message) in [
        (r#"{"success":false}"#, None, ""),
        (r#"{"success":0}"#, None, ""),
        (r#"{"success":"0"}"#, None, ""),
        (r#"{"success":"","error_code":"7"}"#, Some(7), ""),
        (r#"{"error":true,"error_code":null}"#, None, ""),
        (r#"{"error":1}"#, None, ""),
        (r#"{"error":"gone"}"#, None, "gone"),
        (
            r#"{"error":"gone","error_message":"no such diff"}"#,
            None,
            "no such diff",
        ),
        (r#"{"error":{"code":3}}"#, None, ""),
        (r#"{"error":[[]]}"#, None, ""),
        (r#"{"success":true,"error_message":"odd"}"#, None, "odd"),
    ] {
        let message = message.to_owned();
        assert_eq!(api_error(body), ApiError { code, message }, "{body}");
    }
}

#[test]
fn any_job_field_makes_a_status() {
    for body in [
        r#"{"success":false,"error":true,"jobprogress":null}"#,
        r#"{"jobfailed":null}"#,
        r#"{"jobstateid":null}"#,
        r#"{"jobstatename":null}"#,
    ] {
        assert_eq!(status(body), Status::default(), "{body}");
    }
}

#[test]
fn an_object_of_neither_kind_is_an_error() {
    for body in [
        "{}",
        r#"{"success":true}"#,
        r#"{"success":null,"error":null,"error_message":null}"#,
        r#"{"error":false,"error_message":""}"#,
        r#"{"error":[]}"#,
        r#"{"error":{}}"#,
        r#"{"error":"0"}"#,
        r#"{"joberror":"x"}"#,
        r#"{"data":{"jobprogress":5}}"#,
    ] {
        let message = format!(
            "at byte {}: expected a job field (jobprogress, jobfailed, jobstateid or jobstatename), \
             found the end of the response",
            body.len()
        );
        assert_eq!(error(body), message, "{body}");
    }
}
