//! The calibration in the user's cache: optional, for one server each, and replaced if it is damaged.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::fixture::{CliCommand, SimFixture, files_below, job};

fn fixture() -> SimFixture {
    SimFixture::new(&job("diff/1", "duration = '1s'"))
}

fn calibration(fixture: &SimFixture) -> PathBuf {
    let host = fixture.server.base_url().replace("http://", "");
    let name = format!("{}-5678.json", host.replace(':', "_"));
    fixture
        .sandbox
        .path("cache/forgewatch/calibration")
        .join(name)
}

/// A watch of the simulator that learns, which is on a loopback address.
fn learning(fixture: &SimFixture, args: &[&str]) -> CliCommand {
    let config = fixture
        .sandbox
        .file("config.toml", "[schedule]\nlearn_from_loopback = true\n");
    fixture.watch(args).env("FORGEWATCH_CONFIG", config)
}

#[test]
fn the_calibration_is_saved_in_the_cache_and_nowhere_else() {
    let fixture = fixture();
    learning(&fixture, &["diff/1"]).run().expect(0);
    let kept = fs::read_to_string(calibration(&fixture)).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["api"], fixture.server.base_url());
    assert_eq!(kept["account_service_id"], 5678);
    assert_eq!(
        files_below(&fixture.sandbox.path("cache")),
        [calibration(&fixture)]
    );
    assert!(files_below(&fixture.sandbox.path("home")).is_empty());
    assert!(files_below(&fixture.sandbox.path("config")).is_empty());
}

#[test]
fn jobs_of_a_server_on_a_loopback_address_teach_nothing() {
    let fixture = fixture();
    fixture.watch(&["diff/1"]).run().expect(0);
    assert!(files_below(&fixture.sandbox.path("cache")).is_empty());
}

#[test]
fn no_learn_neither_reads_nor_writes_the_cache() {
    let fixture = fixture();
    let path = calibration(&fixture);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "{}").unwrap();
    learning(&fixture, &["--no-learn", "diff/1"])
        .run()
        .expect(0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
}

#[test]
fn a_calibration_continues_for_its_own_account_only() {
    let first = fixture();
    learning(&first, &["diff/1"]).run().expect(0);
    let first_kept = fs::read_to_string(calibration(&first)).unwrap();
    for (account, lifetimes) in [("5678", 2), ("9", 1)] {
        let fixture = fixture();
        let earlier = first_kept
            .replace(&first.server.base_url(), &fixture.server.base_url())
            .replace(":5678,", &format!(":{account},"));
        fs::create_dir_all(calibration(&fixture).parent().unwrap()).unwrap();
        fs::write(calibration(&fixture), earlier).unwrap();
        learning(&fixture, &["diff/1"]).run().expect(0);
        let kept = fs::read_to_string(calibration(&fixture)).unwrap();
        let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(kept["account_service_id"], 5678);
        assert_eq!(kept["jobs"]["diff"]["lifetimes"], lifetimes, "{kept}");
    }
}

#[test]
fn a_job_that_runs_longer_than_its_like_is_reported_as_slow_once() {
    let fixture = SimFixture::new(&job("update/1", "duration = '4s'\nprogress_curve = 1"));
    fs::create_dir_all(calibration(&fixture).parent().unwrap()).unwrap();
    let earlier = serde_json::json!({
        "api": fixture.server.base_url(),
        "account_service_id": 5678,
        "jobs": {"update": {"durations": [1_000, 900, 1_000, 1_100, 1_000, 1_000, 900, 1_000]}},
    });
    fs::write(calibration(&fixture), earlier.to_string()).unwrap();
    let done = learning(&fixture, &["--max-interval", "200ms", "update/1"])
        .run()
        .expect(0);
    let events = done.events_of("update/1");
    let slow: Vec<_> = (events.iter())
        .filter(|event| event["event_type"] == "job.slow")
        .collect();
    assert_eq!(slow.len(), 1, "{events:#?}");
    assert_eq!(slow[0]["usual_ms"], 1_000);
    assert!(slow[0]["run_ms"].as_u64() > Some(1_320), "{}", slow[0]);
    let end = done.end_of("update/1");
    assert_eq!(
        (&end["usual_ms"], &end["unusual"]),
        (&1_000.into(), &"slow".into())
    );
}

#[test]
fn an_exact_job_of_an_hour_shows_its_eta_after_a_run_with_short_ones() {
    let fixture = SimFixture::new(
        &(job("diff/1", "")
            + &job(
                "diff/2",
                "duration = '1h'\neta_rounding = '1s'\nstart = 'server_start'",
            )),
    );
    fixture.watch(&["diff/1"]).run().expect(0);
    let args = ["--timeout", "1s", "-o", "text", "diff/2"];
    let done = fixture.watch(&args).run().expect(124);
    assert!(done.stdout.contains("ETA 59m"), "{done:?}");
    let json = fixture
        .watch(&["--timeout", "1s", "diff/2"])
        .run()
        .expect(124);
    let first = &json.events_of("diff/2")[0];
    let (low, high) = (
        first["estimate_low_ms"].as_u64().unwrap(),
        first["estimate_high_ms"].as_u64().unwrap(),
    );
    assert!(low < 3_600_000 && 3_590_000 < high, "{first}");
}

#[test]
fn without_xdg_cache_home_the_calibration_is_in_the_home_folder() {
    let fixture = fixture();
    learning(&fixture, &["diff/1"])
        .without_env("XDG_CACHE_HOME")
        .run()
        .expect(0);
    let kept = calibration(&fixture);
    let name = kept.file_name().unwrap();
    let folder = "home/.cache/forgewatch/calibration";
    assert!(fixture.sandbox.path(folder).join(name).is_file());
}

#[test]
fn a_job_that_did_not_end_is_not_in_the_calibration() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '1h'"));
    learning(&fixture, &["--timeout", "300ms", "diff/1"])
        .run()
        .expect(124);
    assert!(!calibration(&fixture).exists());
}

#[test]
fn a_damaged_calibration_is_replaced() {
    let huge = "9".repeat(400);
    for damaged in ["", "{", "[]", "null", r#"{"diff":{}}"#, "\u{0}", &huge] {
        let fixture = fixture();
        fs::create_dir_all(calibration(&fixture).parent().unwrap()).unwrap();
        fs::write(calibration(&fixture), damaged).unwrap();
        let done = learning(&fixture, &["diff/1"]).run().expect(0);
        assert_eq!(done.stderr, "");
        assert_ne!(fs::read_to_string(calibration(&fixture)).unwrap(), damaged);
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_not_an_error() {
    let fixture = fixture();
    // A file in place of the folder also stops root.
    fixture.sandbox.file("cache", "");
    fs::set_permissions(fixture.sandbox.path("home"), Permissions::from_mode(0o500)).unwrap();
    let done = learning(&fixture, &["diff/1"]).run().expect(0);
    assert_eq!(done.stderr, "");
    let done = learning(&fixture, &["diff/1"])
        .without_env("HOME")
        .without_env("XDG_CACHE_HOME")
        .run()
        .expect(0);
    assert_eq!(done.stderr, "");
}
