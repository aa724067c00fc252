//! The entry point. Everything else is in the library, so that tests can reach it.

use std::panic;
use std::process::ExitCode;

use forgewatch::app::command_error::CommandError;
use forgewatch::cli;
use forgewatch::config::Env;

fn main() -> ExitCode {
    let run = || cli::run(std::env::args_os(), &Env::from_process());
    panic::catch_unwind(run).unwrap_or_else(|_| {
        // The panic hook has printed the message and the location.
        let bug = "internal error: this is a bug in forgewatch; please report it";
        cli::exit(Err(CommandError::internal(bug)))
    })
}
