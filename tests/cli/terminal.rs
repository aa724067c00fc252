//! `progress` on a real terminal, which it leaves as it found it.

use crate::daemon::{Home, listed};
use crate::place::{Done, Stage, job};

/// What a terminal shows after all that was printed.
fn screen(done: &Done, rows: u16, columns: u16) -> vt100::Parser {
    let mut terminal = vt100::Parser::new(rows, columns, 200);
    terminal.process(done.stdout.as_bytes());
    terminal
}

#[track_caller]
fn expect_left_alone(terminal: &vt100::Parser) {
    let screen = terminal.screen();
    let text = screen.contents();
    assert!(!screen.hide_cursor(), "the cursor is hidden: {text}");
    assert!(!screen.alternate_screen(), "another screen: {text}");
    assert_eq!(
        screen.cursor_position().1,
        0,
        "the prompt begins in the middle: {text}"
    );
    assert_eq!(screen.fgcolor(), vt100::Color::Default, "coloured: {text}");
    for row in 0..screen.size().0 {
        assert!(!screen.row_wrapped(row), "line {row} wraps: {text}");
    }
}

#[test]
fn the_bars_end_as_a_line_a_job_and_nothing_else_is_left() {
    for columns in [60, 80, 200] {
        let script = job("diff/1", "duration = '1s'")
            + &job("update/2", "ending = 'failed'\nerror = 'disk full'");
        let stage = Stage::new(&script);
        let watch = stage.watch(&["--output", "auto", "diff/1", "update/2"]);
        let done = watch.on_terminal(20, columns).run().expect(1);
        let terminal = screen(&done, 20, columns);
        let text = terminal.screen().contents();
        expect_left_alone(&terminal);
        assert_eq!(text.matches("diff/1").count(), 1, "{text}");
        assert_eq!(text.matches("update/2").count(), 1, "{text}");
        assert!(text.contains("disk full"), "{text}");
    }
}

#[test]
fn ctrl_c_leaves_the_terminal_as_it_was() {
    let script = job("diff/1", "duration = '1h'") + &job("diff/2", "duration = '1h'");
    let stage = Stage::new(&script);
    let watch = stage.watch(&["--output", "auto", "diff/1", "diff/2"]);
    let mut watch = watch.on_terminal(20, 80).start();
    stage.await_hits("diff/1", 3);
    watch.type_in("\u{3}");
    let done = watch.wait().expect(130);
    let terminal = screen(&done, 20, 80);
    expect_left_alone(&terminal);
}

#[test]
fn a_daemon_shows_the_bars_of_what_runs_and_takes_them_off_when_it_stops() {
    let script = job("diff/1", "duration = '1h'") + &job("update/2", "ending = 'failed'");
    let home = Home::new(&script, &(listed("diff/1") + &listed("update/2")));
    let config = home.path("fw.toml").display().to_string();
    let args = ["watch", "--config", &config, "--output", "progress"];
    let watch = home.stage.place.program(&args);
    let mut watch = watch.on_terminal(20, 200).start();
    // Many more frames than one.
    home.stage.await_hits("diff/1", 20);
    watch.type_in("\u{3}");
    let done = watch.wait().expect(0);
    assert!(done.stdout.contains("diff/1        running"), "{done:?}");
    let terminal = screen(&done, 20, 200);
    let text = terminal.screen().contents();
    expect_left_alone(&terminal);
    assert!(!text.contains("diff/1"), "{text}");
    assert_eq!(text.matches("update/2").count(), 1, "{text}");
}

#[test]
fn more_jobs_than_rows_are_counted_and_the_screen_is_kept() {
    let names: Vec<String> = (1..=40).map(|n| format!("diff/{n}")).collect();
    let script: String = names
        .iter()
        .map(|name| job(name, "duration = '600ms'"))
        .collect();
    let stage = Stage::new(&script);
    let config = stage
        .place
        .file("f.toml", "[api]\nmax_requests_per_second = 1000\n");
    let mut args = vec!["--output", "auto", "--config", config.to_str().unwrap()];
    args.extend(names.iter().map(String::as_str));
    let done = stage.watch(&args).on_terminal(12, 60).run().expect(0);
    let terminal = screen(&done, 300, 60);
    expect_left_alone(&terminal);
}
