//! The processor time of one poll beside a bare loop of the same HTTP client: `cargo bench --bench poll`.
//!
//! The whole engine (timers, limits, schedule, state machine, decoder, events) keeps 64 requests in flight against a
//! responder in another process. In alternating rounds, 64 bare loops request the same URLs with the same client
//! settings, read the body and drop it. Compared is the processor time, user and system, of the only thread of this
//! process. The state of the jobs changes at times, so that there are events.

use std::cell::Cell;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use forgewatch::clanforge::ApiClient;
use forgewatch::clanforge::Credentials;
use forgewatch::clanforge::{Api, StatusResponse};
use forgewatch::config::for_simulator;
use forgewatch::config::settings::Settings;
use forgewatch::engine::{Engine, EngineParts, SystemClock, Throttle};
use forgewatch::store;
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;
use forgewatch_core::rng::SeededRng;
use forgewatch_core::schedule::ServerCalibration;
use forgewatch_core::verdict::PollError;
use futures_util::stream::{FuturesUnordered, StreamExt};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use support::cpu::main_thread_ns;
use support::median::median;
use support::responder::{Identity, PreparedResponses, http1, tls};
use tokio::net::TcpListener;
use tokio::time::timeout;

mod support {
    pub(crate) mod cpu;
    pub(crate) mod median;
    pub(crate) mod responder;
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The argument that runs this program as the responder.
const SERVE: &str = "serve";
/// Each round is one of the engine and one of the bare loop.
const ROUNDS: usize = 10;
const ROUND: Duration = Duration::from_secs(1);
const IN_FLIGHT: usize = 64;
/// Enough to keep the engine busy although each waits up to [`LONGEST_WAIT`].
const JOBS: usize = 4096;
/// A job stays in a state for this number of polls.
const POLLS_PER_STATE: usize = 32;
/// The limits of the schedule differ by a factor of 600 as by default, so that planning a poll takes the same time.
const SHORTEST_WAIT: Duration = Duration::from_micros(100);
const LONGEST_WAIT: Duration = Duration::from_millis(60);

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if std::env::args().nth(1).as_deref() == Some(SERVE) {
        return runtime.block_on(serve());
    }
    let server = ResponderProcess::start()?;
    for (name, address) in ["HTTP/1.1", "TLS, HTTP/1.1", "TLS, HTTP/2"]
        .into_iter()
        .zip(&server.addresses)
    {
        runtime.block_on(compare(name, address, server.ca.path()))?;
    }
    Ok(())
}

/// Prints its addresses and its CA certificate, then responds until it is killed.
async fn serve() -> Outcome<()> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs();
    let status = |id: u8, name: &str| {
        format!(
            r#"{{"jobprogress":42.5,"jobstateid":{id},"jobstart":"{}","joberror":null,"jobeta":{},"jobfailed":0,"success":true,"jobcreated":{},"buildid":12345678,"jobupdated":{},"jobstatename":"{name}","accountserviceid":"654321","imageid":98765,"machineid":4321,"comment":"nightly build 1"}}"#,
            now - 1800,
            now + 3600,
            now - 1900,
            now - 5,
        )
    };
    let bodies = [status(4, "Running"), status(3, "Queued")];
    let responses = PreparedResponses::new(bodies, JOBS * POLLS_PER_STATE);
    let identity = Identity::new()?;
    let mut listeners = Vec::new();
    for _ in 0..3 {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        listeners.push(listener);
    }
    print!("{}", identity.ca_pem);
    std::io::stdout().flush()?;
    let [clear, over_tls, h2] = <[TcpListener; 3]>::try_from(listeners).map_err(|_| "three")?;
    let ((), over_tls, h2) = tokio::join!(
        http1(clear, responses.clone()),
        tls(over_tls, &identity, "http/1.1", responses.clone()),
        tls(h2, &identity, "h2", responses.clone()),
    );
    over_tls.and(h2)
}

/// The process of the responder.
struct ResponderProcess {
    child: Child,
    addresses: Vec<String>,
    ca: tempfile::NamedTempFile,
}

impl ResponderProcess {
    fn start() -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(SERVE)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut addresses = Vec::new();
        for scheme in ["http", "https", "https"] {
            let mut line = String::new();
            output.read_line(&mut line)?;
            addresses.push(format!("{scheme}://{}", line.trim()));
        }
        let mut pem = String::new();
        while !pem.contains("-----END") {
            output.read_line(&mut pem)?;
        }
        let mut ca = tempfile::NamedTempFile::new()?;
        ca.write_all(pem.as_bytes())?;
        Ok(Self {
            child,
            addresses,
            ca,
        })
    }
}

impl Drop for ResponderProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn compare(name: &str, address: &str, ca: &std::path::Path) -> Outcome<()> {
    let jobs = (1..=JOBS)
        .map(|id| format!("update/{id}").parse())
        .collect::<Result<Vec<JobRef>, _>>()?;
    let settings = settings(address, ca, &jobs)?;
    let (polls, failure) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(None)));
    let mut engine = engine(&settings, &jobs, Rc::clone(&polls), Rc::clone(&failure))?;
    let bare = bare_client(&settings)?;
    let mut bare: FuturesUnordered<_> = (0..IN_FLIGHT)
        .map(|n| poll_forever(&bare, address, n, &polls))
        .collect();

    let mut events = 0_usize;
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let ours = measure(&polls, async {
            loop {
                events += engine.advance().await.map_or(0, |new| new.len());
            }
        });
        let ours = ours.await?;
        let bare = measure(&polls, async { while bare.next().await.is_some() {} });
        let bare = bare.await?;
        // The first round opens the connections.
        if round > 0 {
            rounds.push((ours, bare));
        }
    }
    if let Some(error) = failure.take() {
        return Err(format!("{name}: a poll failed: {error}").into());
    }
    let share = events as f64 / rounds.iter().map(|(ours, _)| ours.polls).sum::<f64>();
    println!(
        "{name}: engine {:.1} us per poll, {:.2} events per poll; bare reqwest {:.1} us; ratio {:.2}",
        median(rounds.iter().map(|(ours, _)| ours.us)),
        share,
        median(rounds.iter().map(|(_, bare)| bare.us)),
        median(rounds.iter().map(|(ours, bare)| ours.us / bare.us)),
    );
    Ok(())
}

struct PollCost {
    polls: f64,
    us: f64,
}

/// Runs `work` for a round.
async fn measure(polls: &Cell<u64>, work: impl Future) -> Outcome<PollCost> {
    let (polls_before, before) = (polls.get(), main_thread_ns()?);
    let _ = timeout(ROUND, work).await;
    let (spent, polls) = (
        main_thread_ns()? - before,
        (polls.get() - polls_before) as f64,
    );
    Ok(PollCost {
        polls,
        us: spent / polls / 1e3,
    })
}

fn settings(address: &str, ca: &std::path::Path, jobs: &[JobRef]) -> Outcome<Settings> {
    let mut settings = for_simulator(address, 654_321, jobs)
        .map_err(|e| e.to_string())?
        .settings;
    settings.api.max_in_flight = IN_FLIGHT;
    settings.api.max_requests_per_second = 1e6;
    settings.api.ca_file = address.starts_with("https").then(|| ca.to_owned());
    settings.limits.schedule.min_interval = SHORTEST_WAIT;
    settings.limits.schedule.max_interval = LONGEST_WAIT;
    Ok(settings)
}

fn engine(
    settings: &Settings,
    jobs: &[JobRef],
    polls: Rc<Cell<u64>>,
    failure: Rc<Cell<Option<String>>>,
) -> Outcome<Engine<CountingApi, store::NoStore, SystemClock>> {
    let client = ApiClient::new(&settings.api, &credentials()?)?;
    let throttle = Throttle {
        max_in_flight: settings.api.max_in_flight,
        max_requests_per_second: settings.api.max_requests_per_second,
    };
    let mut engine = Engine::new(EngineParts {
        api: CountingApi {
            client,
            polls,
            failure,
        },
        store: store::NoStore,
        clock: SystemClock::start(),
        rng: SeededRng::new(1),
        limits: settings.limits.clone(),
        throttle,
        calibration: ServerCalibration::default(),
    });
    for (n, job) in (0_u128..).zip(jobs) {
        engine.watch(WatchId(n.to_ne_bytes()), *job, None);
    }
    Ok(engine)
}

fn credentials() -> Outcome<Credentials> {
    let secret = |text: &str| SecretString::from(text.to_owned());
    Ok(Credentials::new(secret("access"), secret("secret"))?)
}

/// The real client with a count of its polls, and the error of the last one that failed.
struct CountingApi {
    client: ApiClient,
    polls: Rc<Cell<u64>>,
    failure: Rc<Cell<Option<String>>>,
}

impl Api for CountingApi {
    async fn poll(&self, job: JobRef, diff_info: bool) -> Result<StatusResponse, PollError> {
        let result = self.client.poll(job, diff_info).await;
        self.polls.set(self.polls.get() + 1);
        if let Err(error) = &result {
            self.failure.set(Some(error.message.clone()));
        }
        result
    }
}

/// The same HTTP client with the same headers and limits.
fn bare_client(settings: &Settings) -> Outcome<reqwest::Client> {
    let api = &settings.api;
    // An error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let basic = HeaderValue::from_str(credentials()?.basic().expose_secret())?;
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let mut builder = reqwest::Client::builder()
        .user_agent("forgewatch")
        .default_headers(HeaderMap::from_iter([
            (AUTHORIZATION, basic),
            (CONTENT_TYPE, form),
        ]))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(api.connect_timeout)
        .timeout(api.timeout)
        .pool_max_idle_per_host(api.max_in_flight)
        .http2_adaptive_window(true)
        .tls_certs_only([]);
    if let Some(ca) = &api.ca_file {
        let mut pem = Vec::new();
        std::fs::File::open(ca)?.read_to_end(&mut pem)?;
        builder = builder.tls_certs_only([reqwest::Certificate::from_pem(&pem)?]);
    }
    Ok(builder.build()?)
}

/// One of the bare loops, with its own share of the jobs. Ends when a request fails.
async fn poll_forever(http: &reqwest::Client, address: &str, first: usize, polls: &Cell<u64>) {
    let mut id = first;
    loop {
        let url = format!("{address}/cfp/v1/imageupdate/{id}/status?accountserviceid=654321");
        let Ok(mut response) = http.get(url).send().await else {
            return;
        };
        while let Ok(Some(_)) = response.chunk().await {}
        polls.set(polls.get() + 1);
        id = (id + IN_FLIGHT) % JOBS;
    }
}
