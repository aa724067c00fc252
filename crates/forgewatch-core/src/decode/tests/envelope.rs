//! Status, error envelope, or neither.

use super::*;

#[test]
fn the_error_envelope_is_a_refused_request() {
    let body = r#"{"success": false, "error": true, "error_code": 1,
        "error_message": "image locked by diffid: 218595", "messages": [], "_debug": []}"#;
    let expected = ApiError {
        code: Some(1),
        message: "image locked by diffid: 218595".to_owned(),
    };
    assert_eq!(refusal(body), expected);
}

#[test]
fn an_envelope_is_known_by_any_of_its_signs() {
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
        assert_eq!(refusal(body), ApiError { code, message }, "{body}");
    }
}

#[test]
fn a_job_field_makes_a_status_of_any_object() {
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
        let told = format!(
            "at byte {}: expected a field of a job (jobprogress, jobfailed, jobstateid or jobstatename), \
             found the end of the answer",
            body.len()
        );
        assert_eq!(error(body), told, "{body}");
    }
}
