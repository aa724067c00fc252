//! `forgewatch completions`, and the words that its scripts request from the program.
//!
//! A script runs `_FORGEWATCH_COMPLETE=bash forgewatch -- forgewatch show di` for the words up to the cursor. Neither the
//! variable alone nor the arguments alone are a request, so that an exported variable does not change a normal run.

mod candidates;

use std::env::current_dir;
use std::ffi::OsString;
use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::env::{EnvCompleter, Shells};

use super::args::{Cli, CompletionsArgs};
use crate::app::command_error::CommandError;
use crate::config::Env;
use crate::report::stdio;
use candidates::{CandidateSource, with_candidates};

const VARIABLE: &str = "_FORGEWATCH_COMPLETE";
const PROGRAM: &str = "forgewatch";

/// The script of the library offers what bash has by default, such as names of users, and splits words at `=`.
const BASH: &str = include_str!("forgewatch.bash");
/// The first completion only loads the script if it is in a directory of `fpath`.
const ZSH_AUTOLOAD: &str =
    "[[ $funcstack[1] == _forgewatch ]] && _clap_dynamic_completer_forgewatch \"$@\"\n";

/// Prints the completion script. A closed pipe is not an error.
pub(super) fn print_script(args: &CompletionsArgs) -> Result<(), CommandError> {
    let shell = args.shell.to_string();
    let script = match shell.as_str() {
        "bash" => BASH.as_bytes().to_vec(),
        _ => library_script(&shell).map_err(CommandError::internal)?,
    };
    match stdio::stdout().write_all(&script) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::failed(format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

fn library_script(shell: &str) -> io::Result<Vec<u8>> {
    let mut script = Vec::new();
    if let Some(completer) = completer(shell) {
        completer.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
    }
    if shell == "zsh" {
        script.extend_from_slice(ZSH_AUTOLOAD.as_bytes());
    }
    Ok(script)
}

/// Prints candidates for the last word if `args` is the request of a script. Errors are silent: the user is in the middle
/// of a line.
pub(super) fn complete(args: &[OsString], env: &Env) -> bool {
    let [_, escape, words @ ..] = args else {
        return false;
    };
    let shell = env.text(VARIABLE).ok().flatten();
    let (Some(completer), true) = (shell.and_then(completer), escape == "--") else {
        return false;
    };
    let source = CandidateSource::of(words, env);
    let mut command = with_candidates(Cli::command(), &source);
    let mut candidates = Vec::new();
    let directory = current_dir().ok();
    let words = words.to_vec();
    if let Ok(()) =
        completer.write_complete(&mut command, words, directory.as_deref(), &mut candidates)
    {
        let _ = stdio::stdout().write_all(&candidates);
    }
    true
}

fn completer(shell: &str) -> Option<&'static dyn EnvCompleter> {
    const SHELLS: &Shells<'static> = &Shells::builtins();
    SHELLS.completer(shell)
}
