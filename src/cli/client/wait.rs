//! `forgewatch wait`.

use super::DaemonClient;
use crate::app::command_error::CommandError;
use crate::app::wait::{self, WaitRequest};
use crate::cli::args::WaitArgs;
use crate::config::{self, Env};

/// Returns the exit status.
pub(in crate::cli) fn run(args: WaitArgs, env: &Env) -> Result<u8, CommandError> {
    let daemon = DaemonClient::find(&args.daemon, env)?;
    let (add, any) = (args.add, args.any);
    let settings = config::wait(&args.into_command_line(), env).map_err(CommandError::usage)?;
    let request = WaitRequest {
        settings,
        daemon: daemon.address,
        add,
        any,
    };
    wait::run(request, env)
}
