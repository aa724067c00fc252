//! `forgewatch reload`.

use super::args::ReloadArgs;
use super::{CommandError, Daemon, print};
use crate::config::Env;
use crate::control::protocol::{Answer, Request};

/// Has the daemon read its file anew. What is wrong with the file comes as a refusal.
pub(in crate::cli) fn run(args: &ReloadArgs, env: &Env) -> Result<(), CommandError> {
    match Daemon::find(&args.daemon, env).ask_once(&Request::Reload)? {
        Answer::Done => print("the configuration was read anew\n").map(drop),
        _ => Err(CommandError::beside_the_point()),
    }
}
