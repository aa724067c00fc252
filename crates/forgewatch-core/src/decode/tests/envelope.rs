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
        r#"{"jobprogress":null}"#,
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
        r#"{"error":" False "}"#,
        r#"{"success":[],"error_code":0}"#,
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

#[test]
fn a_response_that_calls_itself_an_error_is_one_whatever_it_says_of_the_job() {
    for denial in [
        r#""success":false"#,
        r#""success":"false""#,
        r#""success":"FALSE ""#,
        r#""success":0"#,
        r#""success":"0""#,
        r#""success":0.0"#,
        r#""error":true"#,
        r#""error":"true""#,
        r#""error":1"#,
        r#""error":"1""#,
        r#""error":["x"]"#,
        r#""error":{"code":3}"#,
    ] {
        for job in [
            r#""jobprogress":100"#,
            r#""jobstateid":5,"jobfailed":0,"jobstatename":"Completed""#,
            r#""jobprogress":0,"jobfailed":null,"jobstateid":7"#,
            r#""jobprogress":50,"jobfailed":["x"]"#,
        ] {
            let expected = ApiError {
                code: Some(1),
                message: "locked".to_owned(),
            };
            let details = r#""error_code":1,"error_message":"locked""#;
            let before = format!("{{{denial},{details},{job}}}");
            let after = format!("{{{job},{details},{denial}}}");
            assert_eq!(api_error(&before), expected, "{before}");
            assert_eq!(api_error(&after), expected, "{after}");
        }
    }
}

#[test]
fn a_flag_that_is_null_absent_empty_or_of_the_good_truth_means_nothing() {
    for fields in [
        r#""success":true"#,
        r#""success":1,"error":0"#,
        r#""success":"true","error":"false""#,
        r#""success":null,"error":null"#,
        r#""success":"","error":"""#,
        r#""success":[],"error":[]"#,
        r#""success":{},"error":{}"#,
        r#""error":false,"error_code":0,"error_message":null"#,
        r#""error_code":7,"error_message":"a notice""#,
        r#""success":false,"success":true"#,
        r#""error":["x"],"error":[]"#,
    ] {
        let status = status(format!(r#"{{"jobprogress":50,{fields}}}"#));
        assert_eq!(
            (status.progress, status.rejected),
            (Some(50.0), false),
            "{fields}"
        );
    }
}

#[test]
fn a_job_that_failed_has_failed_in_a_response_that_calls_itself_an_error() {
    for job in [
        r#""jobfailed":1,"jobprogress":100"#,
        r#""jobfailed":"true""#,
        r#""jobstateid":6"#,
        r#""jobstatename":"Failed""#,
    ] {
        let body = format!(r#"{{"success":false,{job},"error_message":"disk full"}}"#);
        let with_reason = status(&body);
        assert!(with_reason.rejected, "{body}");
        assert_eq!(with_reason.error.as_deref(), Some("disk full"), "{body}");
        let body = format!(r#"{{"joberror":"exit 3",{job},"error":true,"error_message":"x"}}"#);
        assert_eq!(status(&body).error.as_deref(), Some("exit 3"), "{body}");
    }
}

#[test]
fn an_envelope_with_blank_job_fields_is_an_error() {
    for job in [
        r#""jobprogress":null,"jobfailed":null,"jobstateid":null,"jobstatename":null"#,
        r#""jobprogress":0,"jobfailed":0,"jobstateid":0,"jobstatename":"""#,
        r#""jobprogress":"0","jobfailed":false"#,
    ] {
        for details in [r#""error_message":"locked""#, r#""error_code":7"#] {
            api_error(&format!("{{{job},{details}}}"));
            api_error(&format!("{{{details},{job}}}"));
        }
        assert!(!status(format!("{{{job}}}")).rejected);
    }
}

#[test]
fn the_message_of_an_error_is_the_best_text_there_is() {
    for (body, message) in [
        (r#"{"error":"true","jobprogress":1}"#, ""),
        (
            r#"{"error":"locked","joberror":"b","jobprogress":1}"#,
            "locked",
        ),
        (
            r#"{"success":false,"joberror":"exit 3","jobprogress":100}"#,
            "exit 3",
        ),
    ] {
        assert_eq!(api_error(body).message, message, "{body}");
    }
}
