//! `forgewatch reload`.

use super::args::ReloadArgs;
use super::{Daemon, Undone, print};
use crate::config::Env;
use crate::control::protocol::{Answer, Request};
use crate::report::neutral::{LIMIT, neutral};

/// Has the daemon read its file anew; says what of it has to wait for a restart.
pub(in crate::cli) fn run(args: &ReloadArgs, env: &Env) -> Result<(), Undone> {
    let Answer::Reloaded { needs_restart } =
        Daemon::find(&args.daemon, env).ask_once(&Request::Reload)?
    else {
        return Err(Undone::beside_the_point());
    };
    let mut text = "the configuration was read anew\n".to_owned();
    for key in needs_restart {
        text.push_str(&neutral(&key, LIMIT));
        text.push('\n');
    }
    print(&text).map(drop)
}
