//! Output streams: readers that disconnect, are slow or missing, and the output format that a stream determines.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, pipe};
use std::os::unix::fs::MetadataExt;

use crate::fixture::{SimFixture, job};

#[test]
fn the_watch_continues_when_its_reader_disconnects() {
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
fn the_watch_runs_without_any_reader() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    fixture.watch(&["diff/1"]).stdout(writer).run().expect(0);
}

#[test]
fn the_watch_continues_when_the_disk_is_full() {
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
fn a_slow_reader_gets_every_line() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '800ms'"));
    let (reader, writer) = pipe().unwrap();
    let watch = fixture.watch(&["diff/1"]).stdout(writer).start();
    // Reads nothing until the job has ended.
    watch.wait().expect(0);
    let lines: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
    assert!(lines.last().unwrap().contains("watch.finished"));
}

#[test]
fn the_environment_decides_about_color() {
    let script = job("diff/1", "");
    let has_colors = |variables: &[(&str, &str)]| {
        let fixture = SimFixture::new(&script);
        let watch = fixture.watch(&["--output", "text", "diff/1"]);
        let watch = variables
            .iter()
            .fold(watch, |watch, (name, value)| watch.env(name, value));
        watch.run().expect(0).stdout.contains('\u{1b}')
    };
    assert!(!has_colors(&[]), "not a terminal");
    assert!(has_colors(&[("CLICOLOR_FORCE", "1")]));
    assert!(has_colors(&[("FORCE_COLOR", "1")]));
    assert!(!has_colors(&[("FORCE_COLOR", "0")]));
    assert!(!has_colors(&[("FORCE_COLOR", "1"), ("NO_COLOR", "1")]));
    assert!(!has_colors(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!has_colors(&[("NO_COLOR", "1")]));
}

#[test]
fn the_default_output_to_the_journal_is_json() {
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
