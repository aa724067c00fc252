//! The calibration in the user's cache: optional, and replaced if it is damaged.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::fixture::{SimFixture, files_below, job};

fn fixture() -> SimFixture {
    SimFixture::new(&job("diff/1", "duration = '1s'"))
}

fn calibration(fixture: &SimFixture) -> PathBuf {
    fixture.sandbox.path("cache/forgewatch/calibration.json")
}

#[test]
fn the_calibration_is_saved_in_the_cache_and_nowhere_else() {
    let fixture = fixture();
    fixture.watch(&["diff/1"]).run().expect(0);
    let kept = fs::read_to_string(calibration(&fixture)).unwrap();
    serde_json::from_str::<serde_json::Value>(&kept).unwrap();
    assert_eq!(
        files_below(&fixture.sandbox.path("cache")),
        [calibration(&fixture)]
    );
    assert!(files_below(&fixture.sandbox.path("home")).is_empty());
    assert!(files_below(&fixture.sandbox.path("config")).is_empty());
}

#[test]
fn without_xdg_cache_home_the_calibration_is_in_the_home_folder() {
    let fixture = fixture();
    fixture
        .watch(&["diff/1"])
        .without_env("XDG_CACHE_HOME")
        .run()
        .expect(0);
    assert!(
        fixture
            .sandbox
            .path("home/.cache/forgewatch/calibration.json")
            .is_file()
    );
}

#[test]
fn a_job_that_did_not_end_is_not_in_the_calibration() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '1h'"));
    fixture
        .watch(&["--timeout", "300ms", "diff/1"])
        .run()
        .expect(124);
    assert!(!calibration(&fixture).exists());
}

#[test]
fn a_damaged_calibration_is_replaced() {
    let huge = "9".repeat(400);
    for damaged in ["", "{", "[]", "null", r#"{"diff":{}}"#, "\u{0}", &huge] {
        let fixture = fixture();
        let path = fixture
            .sandbox
            .file("cache/forgewatch/calibration.json", damaged);
        let done = fixture.watch(&["diff/1"]).run().expect(0);
        assert_eq!(done.stderr, "");
        assert_ne!(fs::read_to_string(path).unwrap(), damaged);
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_not_an_error() {
    let fixture = fixture();
    // A file in place of the folder also stops root.
    fixture.sandbox.file("cache", "");
    fs::set_permissions(fixture.sandbox.path("home"), Permissions::from_mode(0o500)).unwrap();
    let done = fixture.watch(&["diff/1"]).run().expect(0);
    assert_eq!(done.stderr, "");
    let done = fixture
        .watch(&["diff/1"])
        .without_env("HOME")
        .without_env("XDG_CACHE_HOME")
        .run()
        .expect(0);
    assert_eq!(done.stderr, "");
}
