//! `forgewatch completions` and `forgewatch man`, generated from the definitions of the command line.

use std::io::{self, Write};

use clap::{Command, CommandFactory, ValueHint};
use clap_complete::Shell;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::man::write_pages;
use crate::app::command_error::CommandError;
use crate::report::stdio;

/// Prints the completion script. A closed pipe is not an error.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), CommandError> {
    let mut script = Vec::new();
    let mut command = without_file_names(Cli::command());
    clap_complete::generate(args.shell, &mut command, "forgewatch", &mut script);
    let script = String::from_utf8_lossy(&script);
    match stdio::stdout().write_all(positionals(args.shell, &script).as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::failed(format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Values that are no paths: shells would offer file names for them.
fn without_file_names(command: Command) -> Command {
    command
        .mut_args(|arg| match arg.get_value_hint() {
            _ if !arg.get_action().takes_values() => arg,
            ValueHint::Unknown => arg.value_hint(ValueHint::Other),
            // The shell then completes directories, too.
            ValueHint::AnyPath => arg.value_hint(ValueHint::FilePath),
            _ => arg,
        })
        .mut_subcommands(without_file_names)
}

/// Bash and fish ignore the hints of positional arguments and offer file names: only `man` and `state` have paths there.
fn positionals(shell: Shell, script: &str) -> String {
    const WITH_PATH: [&str; 2] = ["man)\n", "state__subcmd__check)\n"];
    match shell {
        Shell::Bash => {
            let script = script.replace(" -o bashdefault -o default", "");
            WITH_PATH.iter().fold(script, |script, end| {
                let label = format!("        forgewatch__subcmd__{end}");
                script.replace(&label, &format!("{label}            compopt -o default\n"))
            })
        }
        Shell::Fish => {
            format!(
                "{script}complete -c forgewatch -n \"not __fish_forgewatch_using_subcommand man; \
                 and not __fish_forgewatch_using_subcommand state\" -f\n"
            )
        }
        _ => script.to_owned(),
    }
}

/// Writes one man page per command, and one for the configuration file.
pub(super) fn man(args: &ManArgs) -> Result<(), CommandError> {
    write_pages(&args.dir).map_err(|e| {
        let dir = args.dir.display();
        CommandError::failed(format!("{dir}: {e}; use a writable directory"))
    })
}
