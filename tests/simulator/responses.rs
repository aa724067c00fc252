//! Responses for jobs without faults, and checks of credentials.

use crate::client::{RawClient, get};
use crate::{diff, ended, start};

#[test]
fn the_status_of_a_running_diff_has_the_vendor_s_fields() {
    let server = diff("");
    let response = RawClient::new(&server).status("diff/1");
    assert_eq!(response.status, 200);
    let value = response.json();
    assert_eq!(value["jobstateid"], 4);
    assert_eq!(value["jobstatename"], "Running");
    assert_eq!(value["jobfailed"], 0);
    assert_eq!(value["jobprogress"], 0);
    assert!(value["joberror"].is_null());
    assert!(value["jobstart"].is_string());
    assert_eq!(value["added"], serde_json::json!([]));
    assert_eq!(value["diffid"], 1);
    assert!(value.get("success").is_none());
    assert!(value.get("game").is_none());
    let created = value["jobcreated"].as_i64().unwrap();
    assert!(value["jobeta"].as_i64().unwrap() - created <= 60);
}

#[test]
fn a_queued_update_has_no_start_time_and_success_true() {
    let server = start("[[jobs]]\njob = \"update/7\"\nduration = \"60s\"\nqueued = \"50s\"\n");
    let value = RawClient::new(&server).status("update/7").json();
    assert_eq!(value["jobstateid"], 3);
    assert!(value["jobstart"].is_null());
    assert_eq!(value["success"], true);
    assert_eq!(value["updateid"], 7);
    assert!(value.get("added").is_none());
}

#[test]
fn the_id_of_a_version_is_its_imageversionid() {
    let (_server, mut client) = ended("version/5", "");
    let value = client.status("version/5").json();
    assert_eq!(value["imageversionid"], 5);
    assert_eq!(value["success"], true);
    for absent in ["added", "diffid", "updateid"] {
        assert!(value.get(absent).is_none(), "{value}");
    }
}

#[test]
fn diff_info_adds_the_names() {
    let server = diff("game = \"G\"\nimage = \"I\"\nmachine = \"M\"\n");
    let value = RawClient::new(&server)
        .send(&get(
            "/cfp/v1/imagediff/1/status?accountserviceid=5678&diff_info=1",
        ))
        .json();
    assert_eq!(value["game"]["name"], "G");
    assert_eq!(value["image"]["name"], "I");
    assert_eq!(value["machine"]["name"], "M");
}

#[test]
fn every_ending_has_its_own_fields() {
    for (ending, state, failed, progress, error) in [
        ("completed", 5, 0, 100, None),
        ("failed", 6, 1, 99, Some("disk full")),
        ("squashed", 7, 0, 99, None),
        ("jobfailed_only", 4, 1, 99, Some("disk full")),
        ("progress_only", 4, 0, 100, None),
    ] {
        let text = error
            .map(|e| format!("error = {e:?}\n"))
            .unwrap_or_default();
        let (_server, mut client) = ended("update/7", &format!("ending = \"{ending}\"\n{text}"));
        let value = client.status("update/7").json();
        assert_eq!(value["jobstateid"], state, "{ending}");
        assert_eq!(value["jobfailed"], failed, "{ending}");
        assert_eq!(value["jobprogress"], progress, "{ending}");
        assert_eq!(value["joberror"].as_str(), error, "{ending}");
    }
}

#[test]
fn a_finished_diff_lists_its_files_before_its_last_field() {
    let (_server, mut client) = ended("diff/1", "files = { added = 3, modified = 2000 }\n");
    let response = client.status("diff/1");
    assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    let value = response.json();
    assert_eq!(value["added"].as_object().unwrap().len(), 3);
    assert_eq!(value["modified"].as_object().unwrap().len(), 2000);
    assert_eq!(value["removed"], serde_json::json!([]));
    let text = String::from_utf8(response.body).unwrap();
    assert!(
        text.find("\"jobupdated\"") > text.find("\"removed\""),
        "a field follows the maps"
    );
}

#[test]
fn json_styles_change_the_spelling_but_not_the_meaning() {
    let (_server, mut client) = ended(
        "diff/1",
        "json_style = \"strings\"\nfiles = { added = 1 }\n",
    );
    let value = client.status("diff/1").json();
    assert_eq!(value["jobstateid"], "5");
    assert_eq!(value["jobstatename"], "Complete");
    assert_eq!(value["jobprogress"], "100.0");
    assert!(value["jobstart"].is_i64());
    let file = value["added"].as_object().unwrap().values().next().unwrap();
    assert!(file["filesize"].is_string());
    let (_server, mut client) = ended("diff/1", "json_style = \"sparse\"\n");
    let value = client.status("diff/1").json();
    assert_eq!(value["jobstatename"], "Complete");
    for missing in ["jobstateid", "joberror", "added", "diffid"] {
        assert!(value.get(missing).is_none(), "{missing}");
    }
}

#[test]
fn credentials_account_path_and_method_are_checked() {
    let server = diff("");
    let mut client = RawClient::new(&server);
    let status = "/cfp/v1/imagediff/1/status";
    let target = format!("{status}?accountserviceid=5678");
    let good = "Authorization: Basic c2ltOnNpbQ==\r\n";
    let wrong_key = "Authorization: Basic c2ltOnNpbX==\r\n";
    let bearer = "Authorization: Bearer x\r\n";
    let with_body = format!("{good}Content-Length: 0\r\n");
    let wrong_account = format!("{status}?accountserviceid=1");
    let unknown_job = target.replace("imagediff/1", "imagediff/2");
    for (method, target, headers, expected) in [
        ("GET", target.as_str(), good, 200),
        ("GET", &target, "", 401),
        ("GET", &target, wrong_key, 401),
        ("GET", &target, bearer, 401),
        ("GET", status, good, 403),
        ("GET", &wrong_account, good, 403),
        ("GET", &unknown_job, good, 404),
        ("GET", "/cfp/v1/images", good, 404),
        ("POST", &target, &with_body, 405),
    ] {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let response = client.send(&request);
        assert_eq!(response.status, expected, "{request}");
        if expected == 401 {
            assert_eq!(response.json()["success"], false);
        }
    }
}

#[test]
fn a_job_appears_after_appears_after() {
    let server =
        start("[[jobs]]\njob = \"update/7\"\nduration = \"60s\"\nappears_after = \"50ms\"\n");
    let mut client = RawClient::new(&server);
    assert_eq!(client.status("update/7").status, 404);
    while client.status("update/7").status == 404 {
        std::thread::yield_now();
    }
    assert_eq!(client.status("update/7").json()["jobstateid"], 4);
}

#[test]
fn responses_are_compressed_for_clients_that_accept_gzip() {
    let server = start("gzip = true\n[[jobs]]\njob = \"diff/1\"\nduration = \"60s\"\n");
    let mut client = RawClient::new(&server);
    let request = get("/cfp/v1/imagediff/1/status?accountserviceid=5678");
    assert_eq!(client.send(&request).header("content-encoding"), None);
    let accepting = request.replace(
        "Host: x\r\n",
        "Host: x\r\nAccept-Encoding: br, gzip;q=0.9\r\n",
    );
    let response = client.send(&accepting);
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    std::io::Read::read_to_string(
        &mut flate2::read::GzDecoder::new(response.body.as_slice()),
        &mut text,
    )
    .unwrap();
    assert!(text.contains("\"jobstateid\":4"), "{text}");
}
