//! `progress` on a real terminal, which is afterwards as before.

use crate::daemon::{DaemonFixture, listed};
use crate::fixture::{CliOutput, SimFixture, job};

/// The terminal after all output.
fn screen(done: &CliOutput, rows: u16, columns: u16) -> vt100::Parser {
    let mut terminal = vt100::Parser::new(rows, columns, 200);
    terminal.process(done.stdout.as_bytes());
    terminal
}

#[track_caller]
fn expect_restored(terminal: &vt100::Parser) {
    let screen = terminal.screen();
    let text = screen.contents();
    assert!(!screen.hide_cursor(), "the cursor is hidden: {text}");
    assert!(!screen.alternate_screen(), "alternate screen: {text}");
    assert_eq!(
        screen.cursor_position().1,
        0,
        "the prompt does not start in column 0: {text}"
    );
    assert_eq!(screen.fgcolor(), vt100::Color::Default, "colored: {text}");
    for row in 0..screen.size().0 {
        assert!(!screen.row_wrapped(row), "line {row} wraps: {text}");
    }
}

#[test]
fn at_the_end_each_bar_becomes_one_line() {
    for columns in [60, 80, 200] {
        let script = job("diff/1", "duration = '1s'")
            + &job("update/2", "ending = 'failed'\nerror = 'disk full'");
        let fixture = SimFixture::new(&script);
        let watch = fixture.watch(&["--output", "auto", "diff/1", "update/2"]);
        let done = watch.on_terminal(20, columns).run().expect(1);
        let terminal = screen(&done, 20, columns);
        let text = terminal.screen().contents();
        expect_restored(&terminal);
        assert_eq!(text.matches("diff/1").count(), 1, "{text}");
        assert_eq!(text.matches("update/2").count(), 1, "{text}");
        assert!(text.contains("disk full"), "{text}");
    }
}

#[test]
fn the_title_and_the_tab_show_the_whole_and_are_restored() {
    let fixture = SimFixture::new(&(job("diff/1", "") + &job("diff/2", "duration = '1s'")));
    let args = ["--output", "auto", "diff/1", "diff/2"];
    let watch = |term: &str| {
        let watch = fixture.watch(&args).on_terminal(20, 80);
        watch.env("TERM", term).env("TERM_PROGRAM", "WezTerm")
    };
    let done = watch("xterm-256color").run().expect(0).stdout;
    let at = |text: &str| {
        done.find(text)
            .unwrap_or_else(|| panic!("{text:?}: {done:?}"))
    };
    let begin = at("\u{1b}[22;2t\u{1b}]2;0/2 done - forgewatch\u{7}\u{1b}]9;4;1;");
    let end = at("\u{1b}[23;2t\u{1b}]9;4;0;");
    assert!(begin < end, "{done:?}");
    // A console without a window would print the title.
    let console = watch("linux").run().expect(0).stdout;
    assert!(!console.contains("\u{1b}]2;"), "{console:?}");
}

#[test]
fn a_terminal_without_a_known_type_gets_plain_lines() {
    for term in [None, Some(""), Some("dumb")] {
        let fixture = SimFixture::new(&job("diff/1", "duration = '500ms'"));
        let watch = fixture
            .watch(&["--output", "auto", "diff/1"])
            .on_terminal(20, 80);
        let watch = match term {
            Some(term) => watch.env("TERM", term),
            None => watch.without_env("TERM"),
        };
        let done = watch.run().expect(0);
        assert!(done.stdout.contains("COMPLETED"), "{}", done.stdout);
        assert!(
            !done.stdout.contains('\u{1b}'),
            "{term:?}: {:?}",
            done.stdout
        );
    }
}

#[test]
fn ctrl_c_restores_the_terminal() {
    let script = job("diff/1", "duration = '1h'") + &job("diff/2", "duration = '1h'");
    let fixture = SimFixture::new(&script);
    let watch = fixture.watch(&["--output", "auto", "diff/1", "diff/2"]);
    let mut watch = watch.on_terminal(20, 80).start();
    fixture.await_requests("diff/1", 3);
    watch.type_in("\u{3}");
    let done = watch.wait().expect(130);
    let terminal = screen(&done, 20, 80);
    expect_restored(&terminal);
}

#[test]
fn a_daemon_shows_bars_and_removes_them_when_it_stops() {
    let script = job("diff/1", "duration = '1h'") + &job("update/2", "ending = 'failed'");
    let fixture = DaemonFixture::new(&script, &(listed("diff/1") + &listed("update/2")));
    let config = fixture.path("fw.toml").display().to_string();
    let args = ["watch", "--config", &config, "--output", "progress"];
    let watch = fixture.sim.sandbox.program(&args);
    let mut watch = watch.on_terminal(20, 200).start();
    // Long enough for many frames.
    fixture.sim.await_requests("diff/1", 20);
    watch.type_in("\u{3}");
    let done = watch.wait().expect(0);
    assert!(done.stdout.contains("diff/1        running"), "{done:?}");
    let terminal = screen(&done, 20, 200);
    let text = terminal.screen().contents();
    expect_restored(&terminal);
    assert!(!text.contains("diff/1"), "{text}");
    assert_eq!(text.matches("update/2").count(), 1, "{text}");
}

#[test]
fn more_jobs_than_rows_do_not_break_the_screen() {
    let names: Vec<String> = (1..=40).map(|n| format!("diff/{n}")).collect();
    let script: String = names
        .iter()
        .map(|name| job(name, "duration = '600ms'"))
        .collect();
    let fixture = SimFixture::new(&script);
    let config = fixture
        .sandbox
        .file("f.toml", "[api]\nmax_requests_per_second = 1000\n");
    let mut args = vec!["--output", "auto", "--config", config.to_str().unwrap()];
    args.extend(names.iter().map(String::as_str));
    let done = fixture.watch(&args).on_terminal(12, 60).run().expect(0);
    let terminal = screen(&done, 300, 60);
    expect_restored(&terminal);
}
