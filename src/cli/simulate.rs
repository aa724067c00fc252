//! `forgewatch simulate`: the simulator alone.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

use super::args::SimulateArgs;
use crate::app::command_error::CommandError;
use crate::app::setup::block_on;
use crate::config::Env;
use crate::os::signals::TerminationSignals;
use crate::report::diagnostics::{self, DiagnosticSink};
use crate::report::stdio;
use forgewatch_sim::{Script, ScriptError, serve};

/// Serves until a signal arrives.
pub(super) fn run(args: &SimulateArgs, env: &Env) -> Result<(), CommandError> {
    init_logging(env).map_err(CommandError::usage)?;
    let script = read_script(args).map_err(CommandError::usage)?;
    let served = block_on(serve_script(args, script)).map_err(CommandError::failed)?;
    served.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; --listen 127.0.0.1:0 takes any free port",
            _ => "",
        };
        CommandError::failed(format!("simulate: {}: {error}{hint}", args.listen))
    })
}

/// `forgewatch::sim=debug` logs each request on standard error.
fn init_logging(env: &Env) -> Result<(), String> {
    let filter = env.text(diagnostics::VARIABLE).map_err(|e| e.to_string())?;
    diagnostics::check(filter).map_err(|e| e.to_string())?;
    diagnostics::install(DiagnosticSink::stderr(), filter).map_err(|e| e.to_string())
}

fn read_script(args: &SimulateArgs) -> Result<Script, String> {
    let Some(path) = &args.script else {
        return Script::example().map_err(|e| format!("the built-in script: {e}"));
    };
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    // The format of configuration errors.
    let at = |e: ScriptError| format!("{}:{}:{}: {}", path.display(), e.line, e.column, e.message);
    Script::parse(&text).map_err(at)
}

async fn serve_script(args: &SimulateArgs, script: Script) -> io::Result<()> {
    let mut stops = TerminationSignals::listen()?;
    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    // A closed standard output does not stop the simulator.
    let _ = stdio::stdout().write_all(greeting(address, &script).as_bytes());
    serve(listener, script, args.speed, async move {
        stops.next().await;
    })
    .await
}

fn greeting(address: SocketAddr, script: &Script) -> String {
    let (access, secret) = (&script.access_key, &script.secret_key);
    let account = script.account_service_id;
    let jobs = script
        .jobs()
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ");
    let (how, base) = base_url(address);
    format!(
        "Simulating on http://{address}\n\n{}\nWatch them from another terminal{how}:\n  \
         FORGEWATCH_ACCESS_KEY={access} FORGEWATCH_SECRET_KEY={secret} \\\n    \
         forgewatch watch --until-done --base-url {base} --account-service-id {account} \\\n    \
         {jobs}\n\nPress Ctrl-C to stop.\n",
        script.summary(),
    )
}

/// A base URL that `watch` accepts, which is http only to loopback addresses, and how to reach the simulator by it.
fn base_url(address: SocketAddr) -> (String, String) {
    let (ip, port) = (address.ip(), address.port());
    let loopback: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let is_reachable = ip.is_loopback() || ip.is_unspecified();
    let how = if is_reachable {
        String::new()
    } else {
        format!(", with the port forwarded by ssh -L {port}:{address} HOST")
    };
    let ip = if ip.is_loopback() { ip } else { loopback };
    (how, format!("http://{}", SocketAddr::new(ip, port)))
}
