//! `forgewatch reload`.

use super::{DaemonClient, unexpected_response, write_stdout};
use crate::app::command_error::CommandError;
use crate::cli::args::client::ReloadArgs;
use crate::config::Env;
use crate::control::protocol::{Request, Response};

/// Errors in the file are an error of this command.
pub(in crate::cli) fn run(args: &ReloadArgs, env: &Env) -> Result<(), CommandError> {
    match DaemonClient::find(&args.daemon, env).call(&Request::Reload)? {
        Response::Done => write_stdout("configuration reloaded\n").map(drop),
        _ => Err(unexpected_response()),
    }
}
