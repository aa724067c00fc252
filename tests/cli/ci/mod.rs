//! What CI systems get: annotations, reports, and the files of GitHub Actions.

mod annotations;
mod hostile;
mod injection;
mod parsers;
mod pipelines;
mod reports;
mod waiting;

use std::fs;

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

/// Name of each test case in `r.xml`; element, type and message of its result. The element is `passed` without one.
pub(crate) fn cases(fixture: &SimFixture) -> Vec<[String; 4]> {
    let xml = fs::read_to_string(fixture.sandbox.path("r.xml")).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let cases = document
        .descendants()
        .filter(|node| node.has_tag_name("testcase"));
    let case = |case: roxmltree::Node<'_, '_>| {
        let child = case.first_element_child();
        let attribute = |name| {
            child
                .and_then(|child| child.attribute(name))
                .unwrap_or_default()
        };
        [
            case.attribute("name").unwrap(),
            child.map_or("passed", |child| child.tag_name().name()),
            attribute("type"),
            attribute("message"),
        ]
        .map(str::to_owned)
    };
    cases.map(case).collect()
}
