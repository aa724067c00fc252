//! A very thin front: everything is in the library.

use std::process::ExitCode;

use forgewatch::cli;
use forgewatch::config::Env;

fn main() -> ExitCode {
    cli::run(std::env::args_os(), &Env::of_process())
}
