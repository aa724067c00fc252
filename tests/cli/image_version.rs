//! Image versions: named, polled, recorded and passed to hooks as updates and diffs are.

use crate::fixture::{SimFixture, job};

fn fixture() -> SimFixture {
    let jobs = ["version/5", "version/6", "diff/9"].map(|name| job(name, ""));
    SimFixture::new(&jobs.concat())
}

#[test]
fn a_version_is_polled_at_its_own_address_and_recorded_under_its_kind() {
    let fixture = fixture();
    let args = ["version/5", "--image-version", "5,6"];
    let done = fixture.watch(&args).run().expect(0);
    for (id, name) in [(5, "version/5"), (6, "version/6")] {
        let end = done.end_of(name);
        assert_eq!(end["event_type"], "job.completed");
        assert_eq!(end["job_kind"], "version");
        assert_eq!(end["job_id"], id);
        let schema = include_str!("../../config/schema/event.json");
        jsonschema::validate(&serde_json::from_str(schema).unwrap(), &end).unwrap();
        let path = format!("/cfp/v1/imageversion/{id}/status?accountserviceid=5678");
        for request in fixture.requests_for(name) {
            assert_eq!(request.target, path);
        }
    }
    assert_eq!(done.finished()["jobs"], 2);
}

#[test]
fn a_version_that_does_not_exist_is_looked_for_at_one_address_only() {
    let fixture = fixture();
    let args = ["version/7", "--not-found-grace", "100ms"];
    fixture.watch(&args).run().expect(5);
    for request in fixture.requests_for("version/7") {
        assert!(
            request.target.starts_with("/cfp/v1/imageversion/7/status"),
            "{request:?}"
        );
    }
}

#[test]
fn a_configuration_file_can_list_versions_and_hooks_for_their_kind() {
    let fixture = fixture();
    let text = "[[jobs]]\njob = 'version/5'\n[[jobs]]\njob = 'diff/9'\n[[hooks]]\nname = 'h'\non = ['job.completed']\n\
         kinds = ['version']\nrun = ['/bin/sh', '-c', 'echo $FORGEWATCH_JOB_KIND $FORGEWATCH_JOB >> seen']\n";
    let schema = include_str!("../../config/schema/config.json");
    let value = toml::from_str::<serde_json::Value>(text).unwrap();
    jsonschema::validate(&serde_json::from_str(schema).unwrap(), &value).unwrap();
    let config = fixture.sandbox.file("f.toml", text);
    let args = ["--config", config.to_str().unwrap()];
    let watch = fixture.watch(&args).env("PATH", "/usr/bin:/bin");
    watch.run().expect(0);
    let seen = std::fs::read_to_string(fixture.sandbox.path("seen")).unwrap();
    assert_eq!(seen, "version version/5\n");
}

#[test]
fn an_id_without_a_kind_names_every_kind() {
    let done = fixture().watch(&["5"]).run().expect(2);
    let hint = "did you mean diff/5, update/5 or version/5?";
    assert!(done.stderr.contains(hint), "{}", done.stderr);
}
