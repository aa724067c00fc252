//! A very thin front: everything is in the library.

use std::io::{self, Write};
use std::panic;
use std::process::ExitCode;

use forgewatch::config::Env;
use forgewatch::{app, cli};

fn main() -> ExitCode {
    let run = || cli::run(std::env::args_os(), &Env::from_process());
    panic::catch_unwind(run).unwrap_or_else(|_| {
        // What and where has been printed already.
        let _ = writeln!(
            io::stderr(),
            "error: internal error: a bug in forgewatch, please report it"
        );
        ExitCode::from(app::INTERNAL)
    })
}
