//! The streams that are written to: readers that go away, are slow or were never there, and what a stream says about
//! the form of the output.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, pipe};
use std::os::unix::fs::MetadataExt;

use crate::fixture::{SimFixture, job};

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    for output in ["json", "text"] {
        let fixture = SimFixture::new(&job("diff/1", "duration = '1s'\nending = 'squashed'"));
        let (reader, writer) = pipe().unwrap();
        let watch = fixture
            .watch(&["--output", output, "diff/1"])
            .stdout(writer)
            .start();
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'));
        watch.wait().expect(3);
        assert!(fixture.requests_for("diff/1").len() > 1);
    }
}

#[test]
fn a_reader_that_was_never_there_ends_nothing() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    fixture.watch(&["diff/1"]).stdout(writer).run().expect(0);
}

#[test]
fn a_full_disk_ends_nothing() {
    let fixture = SimFixture::new(&job("diff/1", "ending = 'squashed'"));
    for output in ["json", "text"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        fixture
            .watch(&["--output", output, "diff/1"])
            .stdout(full)
            .run()
            .expect(3);
    }
}

#[test]
fn a_slow_reader_gets_every_line_in_the_end() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '800ms'"));
    let (reader, writer) = pipe().unwrap();
    let watch = fixture.watch(&["diff/1"]).stdout(writer).start();
    // Reads nothing until the job has ended.
    watch.wait().expect(0);
    let lines: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
    assert!(lines.last().unwrap().contains("watch.finished"));
}

#[test]
fn colours_come_when_they_are_forced_and_never_against_no_color() {
    let script = job("diff/1", "");
    let coloured = |variables: &[(&str, &str)]| {
        let fixture = SimFixture::new(&script);
        let watch = fixture.watch(&["--output", "text", "diff/1"]);
        let watch = variables
            .iter()
            .fold(watch, |watch, (name, value)| watch.env(name, value));
        watch.run().expect(0).stdout.contains('\u{1b}')
    };
    assert!(!coloured(&[]), "no terminal, no colours");
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[("NO_COLOR", "1")]));
}

#[test]
fn the_journal_gets_json_without_being_asked() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    let file = File::create(fixture.sandbox.path("journal")).unwrap();
    let meta = file.metadata().unwrap();
    for (stream, is_json) in [
        (format!("{}:{}", meta.dev(), meta.ino()), true),
        ("1:1".to_owned(), false),
    ] {
        let file = File::create(fixture.sandbox.path("journal")).unwrap();
        let watch = fixture.watch(&["diff/1"]).without_env("FORGEWATCH_OUTPUT");
        watch
            .env("JOURNAL_STREAM", stream)
            .stdout(file)
            .run()
            .expect(0);
        let printed = fs::read_to_string(fixture.sandbox.path("journal")).unwrap();
        assert_eq!(printed.starts_with('{'), is_json, "{printed}");
    }
}
