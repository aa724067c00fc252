//! `forgewatch completions` and `forgewatch man`, generated from the definitions of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs, ManArgs};
use crate::app::command_error::CommandError;
use crate::config::manual;
use crate::report::stdio;

/// Prints the completion script. A closed pipe is not an error.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "forgewatch", &mut script);
    match stdio::stdout().write_all(&script) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::failed(format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Writes one man page per command, and one for the configuration file.
pub(super) fn man(args: &ManArgs) -> Result<(), CommandError> {
    write_pages(&args.dir).map_err(|e| {
        let dir = args.dir.display();
        CommandError::failed(format!("{dir}: {e}; use a writable directory"))
    })
}

fn write_pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)?;
    fs::write(dir.join("forgewatch.toml.5"), manual::man_page().render())
}
