//! What CI systems get: annotations, reports, and the files of GitHub Actions.

mod annotations;
mod hostile;
mod injection;
mod parsers;
mod reports;

use crate::fixture::{CliCommand, SimFixture, job};

/// One job of each kind: update/1 completes, diff/2 fails, version/3 is squashed.
fn fixture() -> SimFixture {
    let script = [
        job("update/1", ""),
        job("diff/2", "ending = 'failed'\nerror = 'disk <full>: 99%, 2'"),
        job("version/3", "ending = 'squashed'"),
    ];
    SimFixture::new(&script.concat())
}

const JOBS: [&str; 3] = ["update/1", "diff/2", "version/3"];

/// Watches the jobs of the fixture, with `text`.
fn watch(fixture: &SimFixture, args: &[&str]) -> CliCommand {
    let watch = fixture.watch(&[&JOBS, args].concat());
    watch.env("FORGEWATCH_OUTPUT", "text")
}
