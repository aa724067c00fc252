//! The command line: its definitions in [`args`], the clients of a daemon in [`client`], and one file for each other
//! command.

pub mod args;
mod check;
pub mod client;
mod completions;
mod man;
mod simulate;
mod state;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::app;
use crate::app::command_error::{CommandError, USAGE};
use crate::config::Env;
use crate::hooks::supervisor;
use crate::os;
use crate::os::limits::{NEEDED_TO_WAIT, NEEDED_TO_WATCH};
use crate::report::{has_color, stdio};
use args::{Cli, Command, HookSupervisor};

pub fn run(args: impl IntoIterator<Item = OsString>, env: &Env) -> ExitCode {
    if let Err(error) = os::signals::init() {
        return exit(Err(CommandError::internal(format!("signals: {error}"))));
    }
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(status) = os::init::run(&args) {
        return ExitCode::from(status);
    }
    os::limits::raise_open_files();
    if args.get(1).is_some_and(|name| name == HookSupervisor::NAME) {
        return match HookSupervisor::try_parse_from(args.into_iter().skip(1)) {
            Ok(args) => {
                os::signals::reset_ignored();
                supervisor::run(Duration::from_millis(args.timeout_ms), &args.command)
            }
            Err(error) => print_usage(&error),
        };
    }
    if completions::complete(&args, env) {
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Includes help and version, which clap prints on standard output with exit code 0.
            return print_usage(&error);
        }
    };
    let needed_files = match cli.command {
        Command::Watch(_) | Command::Demo(_) | Command::Simulate(_) => NEEDED_TO_WATCH,
        Command::Wait(_) => NEEDED_TO_WAIT,
        _ => 0,
    };
    if let Err(error) = os::limits::check_open_files(needed_files) {
        return exit(Err(CommandError::usage(error)));
    }
    if let Some(output) = cli.command.output() {
        output.apply_color();
    }
    match cli.command {
        Command::Watch(args) => {
            let until_done = args.until_done;
            exit_with(app::watch(args.into_command_line(), until_done, env))
        }
        Command::Wait(args) => exit_with(client::wait::run(*args, env)),
        Command::Demo(args) => exit_with(app::demo::run(args.output.format(), env)),
        Command::Simulate(args) => exit(simulate::run(&args, env)),
        Command::Check(args) if args.diff => exit(client::diff::run(&args, env)),
        Command::Check(args) => exit(check::run(&args, env)),
        Command::Add(args) => exit(client::jobs::add(args, env)),
        Command::Remove(args) => exit(client::jobs::remove(args, env)),
        Command::Status(args) => exit(client::status::run(&args, env)),
        Command::List(args) => exit(client::list::run(&args, env)),
        Command::Show(args) => exit(client::show::run(&args, env)),
        Command::Events(args) => exit(client::events::run(&args, env)),
        Command::Reload(args) => exit(client::reload(&args, env)),
        Command::Hooks(args) => exit(client::hooks::run(&args, env)),
        Command::State(args) => exit(state::run(&args)),
        Command::Completions(args) => exit(completions::print_script(&args)),
        Command::Man(args) => exit(man::run(&args)),
    }
}

fn print_usage(error: &clap::Error) -> ExitCode {
    let (mut stream, has_color) = if error.use_stderr() {
        (stdio::stderr(), has_color(&io::stderr()))
    } else {
        (stdio::stdout(), has_color(&io::stdout()))
    };
    let text = error.render();
    let text = if has_color {
        text.ansi().to_string()
    } else {
        text.to_string()
    };
    // A closed stream does not change the exit status.
    let _ = stream.write_all(text.as_bytes());
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
}

/// Ends a command with its result.
pub fn exit(result: Result<(), CommandError>) -> ExitCode {
    exit_with(result.map(|()| 0))
}

/// Prints the error, if any: each line behind `error: `, as clap does. A closed standard error does not change the exit
/// status.
fn exit_with(result: Result<u8, CommandError>) -> ExitCode {
    let exit_code = result.unwrap_or_else(|error| {
        for line in error.message.lines() {
            let _ = stdio::stderr().write_all(format!("error: {line}\n").as_bytes());
        }
        error.exit_code
    });
    ExitCode::from(exit_code)
}
