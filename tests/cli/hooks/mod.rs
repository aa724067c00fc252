//! Hooks that run programs, from the start of a watch to its exit status.

mod attempts;
mod configuration;
mod payload;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::fixture::{CliOutput, SimFixture, job};

/// A simulated API with one quick job, and the path of a hook script.
fn fixture(script: &str) -> (SimFixture, String) {
    let fixture = SimFixture::new(&job("update/77", ""));
    let path = fixture
        .sandbox
        .file("hook", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (fixture, path)
}

fn watch(fixture: &SimFixture, on_events: &[&str]) -> CliOutput {
    let mut args = vec!["update/77"];
    for on_event in on_events {
        args.extend(["--on-event", on_event]);
    }
    fixture.watch(&args).env("PATH", "/usr/bin:/bin").run()
}

fn lines(fixture: &SimFixture, name: &str) -> Vec<String> {
    let text = fs::read_to_string(fixture.sandbox.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
