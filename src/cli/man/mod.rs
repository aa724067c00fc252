//! The man pages of the commands, in the usual sections: generated from the definitions of the command line. `topics` has
//! those of section 7.

mod topics;

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::args::{Cli, ManArgs};
use crate::app::command_error::CommandError;
use crate::config::manual;

/// The files of all commands, and what is in them.
const FILES: [(&str, &str); 6] = [
    (
        "$XDG_CONFIG_HOME/forgewatch/forgewatch.toml",
        "The configuration of the user; $XDG_CONFIG_HOME is ~/.config if unset.",
    ),
    (
        "/etc/forgewatch/forgewatch.toml",
        "The configuration of the system, if the user has none.",
    ),
    ("/var/lib/forgewatch/state.db", "The state of the daemon."),
    (
        "/run/forgewatch/control.sock",
        "The socket of the daemon, for its clients.",
    ),
    (
        "$XDG_STATE_HOME/forgewatch/state.db",
        "The state of an ordinary user's daemon; $XDG_STATE_HOME is ~/.local/state if unset.",
    ),
    (
        "$XDG_RUNTIME_DIR/forgewatch/control.sock",
        "Its socket; without $XDG_RUNTIME_DIR it is next to the state.",
    ),
];

/// The exit status of a command whose help does not list it.
const EXIT_STATUS: &str =
    "0 if all went well, 1 if it could not be done, 2 after a usage or configuration error.";

/// `forgewatch man`.
pub(super) fn run(args: &ManArgs) -> Result<(), CommandError> {
    write_pages(&args.dir).map_err(|e| {
        let dir = args.dir.display();
        CommandError::failed(format!("{dir}: {e}; use a writable directory"))
    })
}

/// Writes one page per command, and those for the configuration file, events and hooks.
fn write_pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    write_command(&command, dir)?;
    fs::write(dir.join("forgewatch-events.7"), topics::events().render())?;
    fs::write(dir.join("forgewatch-hooks.7"), topics::hooks().render())?;
    fs::write(dir.join("forgewatch.toml.5"), manual::man_page().render())
}

fn write_command(command: &Command, dir: &Path) -> io::Result<()> {
    let subcommands = || command.get_subcommands().filter(|sub| !sub.is_hide_set());
    for subcommand in subcommands() {
        write_command(subcommand, dir)?;
    }
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if subcommands().next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    sections(command).to_writer(&mut page)?;
    fs::write(dir.join(man.get_filename()), page)
}

/// The sections behind the options: the paragraphs of the help's end, the files and the other pages.
fn sections(command: &Command) -> Roff {
    let help = command.get_after_help().map(ToString::to_string);
    let help = help.unwrap_or_default();
    let paragraphs = || help.split("\n\n").filter(|paragraph| !paragraph.is_empty());
    let mut page = Roff::new();
    let named = [
        ("EXIT STATUS", "Exit status"),
        ("ENVIRONMENT", "Environment"),
    ];
    for (title, start) in named {
        match paragraphs().find(|paragraph| paragraph.starts_with(start)) {
            Some(paragraph) => add_paragraph(&mut page, title, paragraph),
            None if title == "EXIT STATUS" => add_paragraph(&mut page, title, EXIT_STATUS),
            None => {}
        }
    }
    page.control("SH", ["FILES"]);
    for (path, what) in FILES {
        page.control("TP", [])
            .text([bold(path)])
            .text([roman(what)]);
    }
    let is_named = |text: &str| named.iter().any(|(_, start)| text.starts_with(start));
    for paragraph in paragraphs().filter(|text| !is_named(text)) {
        let is_example = paragraph.starts_with("Example");
        let title = if is_example { "EXAMPLES" } else { "NOTES" };
        add_paragraph(&mut page, title, paragraph);
    }
    let name = command.get_display_name().unwrap_or("forgewatch");
    let pages = Cli::command();
    let pages = pages.get_subcommands().filter(|sub| !sub.is_hide_set());
    let pages = pages.map(|sub| format!("forgewatch-{}(1)", sub.get_name()));
    let own = format!("{name}(1)");
    let see_also: Vec<String> = std::iter::once("forgewatch(1)".to_owned())
        .chain(pages)
        .filter(|page| *page != own)
        .chain(topics::OTHER_PAGES.map(str::to_owned))
        .collect();
    page.control("SH", ["SEE ALSO"])
        .text([roman(see_also.join(", "))]);
    page
}

/// A sentence, and lines that keep their form.
fn add_paragraph(page: &mut Roff, title: &str, paragraph: &str) {
    page.control("SH", [title]);
    let (first, rest) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
    if !first.starts_with("Examples") {
        page.text([roman(first)]);
    }
    let is_table = rest.starts_with("  ");
    if is_table {
        page.control("nf", []);
    }
    for line in rest.lines() {
        page.text([roman(line)]);
    }
    if is_table {
        page.control("fi", []);
    }
}
