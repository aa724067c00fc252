//! `forgewatch simulate`: the simulator alone.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::net::TcpListener;

use super::args::SimulateArgs;
use super::complain;
use crate::app::{FAILED, USAGE};
use crate::config::Env;
use crate::os::signals::Stops;
use crate::report::diagnostics::{self, Sink};
use forgewatch_sim::{Script, ScriptError, serve};

/// Serves until a signal ends it, which is its proper end.
pub(super) fn run(args: &SimulateArgs, env: &Env) -> ExitCode {
    let script = match log_by(env).and_then(|()| script(args)) {
        Ok(script) => script,
        Err(why) => {
            complain(&why);
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error);
            return ExitCode::from(FAILED);
        }
    };
    match runtime.block_on(listen(args, script)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let what_would_do = match error.kind() {
                io::ErrorKind::AddrInUse => "; --listen 127.0.0.1:0 takes any free port",
                _ => "",
            };
            complain(&format!(
                "simulate: {}: {error}{what_would_do}",
                args.listen
            ));
            ExitCode::from(FAILED)
        }
    }
}

/// With `forgewatch::sim=debug`, a line a request on standard error.
fn log_by(env: &Env) -> Result<(), String> {
    let filter = env.text(diagnostics::VARIABLE).map_err(|e| e.to_string())?;
    diagnostics::check(filter).map_err(|e| e.to_string())?;
    diagnostics::install(Sink::stderr(), filter).map_err(|e| e.to_string())
}

fn script(args: &SimulateArgs) -> Result<Script, String> {
    let Some(path) = &args.script else {
        return Script::example().map_err(|e| format!("the built-in script: {e}"));
    };
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    // As errors of a configuration file are told.
    let at = |e: ScriptError| format!("{}:{}:{}: {}", path.display(), e.line, e.column, e.message);
    Script::parse(&text).map_err(at)
}

async fn listen(args: &SimulateArgs, script: Script) -> io::Result<()> {
    let mut stops = Stops::catch()?;
    let listener = TcpListener::bind(args.listen).await?;
    let base = format!("http://{}", listener.local_addr()?);
    // Nobody has to read it.
    let _ = io::stdout().write_all(greeting(&base, &script).as_bytes());
    serve(listener, script, args.speed, async move {
        stops.next().await;
    })
    .await
}

/// What to type to watch these jobs.
fn greeting(base: &str, script: &Script) -> String {
    let (access, secret) = (script.access_key(), script.secret_key());
    let account = script.account_service_id();
    let jobs = script
        .jobs()
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ");
    format!(
        "Simulating on {base}\n\n{}\nWatch them from another terminal:\n  \
         FORGEWATCH_ACCESS_KEY={access} FORGEWATCH_SECRET_KEY={secret} \\\n    \
         forgewatch watch --until-done --base-url {base} --account-service-id {account} \\\n    \
         {jobs}\n\nCtrl-C ends it.\n",
        script.summary(),
    )
}
