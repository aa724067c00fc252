//! The command line: the definitions are in [`args`], each command has a file of its own. Those that speak to a daemon
//! are in [`client`].

pub mod args;
mod check;
pub mod client;
mod generate;
mod simulate;
mod state;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::app::watch::CommandError;
use crate::app::{self, USAGE};
use crate::config::Env;
use crate::hooks::supervisor;
use args::{Cli, Command};

/// Does what the command line asks for. Returns the exit status of the process.
pub fn run(args: impl IntoIterator<Item = OsString>, env: &Env) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors: clap prints them on standard output and calls for 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match cli.command {
        Command::Watch(args) => {
            let until_done = args.until_done;
            exit(app::watch::run(args.into_given(), until_done, env))
        }
        Command::Demo(args) => exit(app::demo::run(args.output.output, env)),
        Command::Simulate(args) => simulate::run(&args, env),
        Command::Check(args) => check::run(&args, env),
        Command::Add(args) => client::done(client::jobs::add(args, env)),
        Command::Remove(args) => client::done(client::jobs::remove(args, env)),
        Command::List(args) => client::done(client::list::run(&args, env)),
        Command::Show(args) => client::done(client::show::run(&args, env)),
        Command::Events(args) => client::done(client::events::run(&args, env)),
        Command::Reload(args) => client::done(client::reload::run(&args, env)),
        Command::Hooks(args) => client::done(client::hooks::run(&args, env)),
        Command::State(args) => state::run(&args),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
        Command::HookSupervisor(args) => {
            supervisor::run(Duration::from_millis(args.timeout_ms), &args.command)
        }
    }
}

/// Prints the error of a command, if any. Returns the exit status of the process.
fn exit(result: Result<u8, CommandError>) -> ExitCode {
    let status = result.unwrap_or_else(|CommandError { status, why }| {
        complain(&why);
        status
    });
    ExitCode::from(status)
}

/// Prints each line of an error behind `error: `, as clap does with its own. A closed standard error is no reason to
/// end otherwise.
fn complain(error: &impl fmt::Display) {
    let mut stderr = io::stderr().lock();
    for line in error.to_string().lines() {
        let _ = writeln!(stderr, "error: {line}");
    }
}
