//! `forgewatch completions` and `forgewatch man`: both are made of the command line's definitions.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::complain;
use crate::app::FAILED;
use crate::config::manual;

/// Prints the completion script. A reader that has seen enough is no failure.
pub(super) fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "forgewatch", &mut script);
    match io::stdout().write_all(&script) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {e}"));
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Writes one man page a command, and one of the configuration file.
pub(super) fn man(args: &ManArgs) -> ExitCode {
    match write_pages(&args.dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let dir = args.dir.display();
            complain(&format!("{dir}: {e}; name a folder that can be written"));
            ExitCode::from(FAILED)
        }
    }
}

fn write_pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)?;
    fs::write(dir.join("forgewatch.toml.5"), manual::man_page().render())
}
