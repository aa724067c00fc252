//! `forgewatch completions` and `forgewatch man`: both are made of the command line's definitions.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::{FAILED, complain};

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

/// Writes one man page a command.
pub(super) fn man(args: &ManArgs) -> ExitCode {
    let written = fs::create_dir_all(&args.dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.dir));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let dir = args.dir.display();
            complain(&format!("{dir}: {e}; name a folder that can be written"));
            ExitCode::from(FAILED)
        }
    }
}
