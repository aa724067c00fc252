//! A scraper that requests the metrics a hundred times a second.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use forgewatch_sim::{Script, Server};

use crate::daemon::{JOBS, WARM_UP, jobs, start};
use crate::load;
use crate::polls::lateness;

const INTERVAL: Duration = Duration::from_millis(10);
const MAX_SCRAPE: Duration = Duration::from_millis(20);
/// The share by which scrapes may delay polls, and the resolution of the figure.
const MAX_RATIO: f64 = 1.2;
const RESOLUTION_MS: f64 = 2.0;

#[test]
fn scrapes_are_quick_and_do_not_delay_polls() {
    let Some(load) = load() else { return };
    let script = Script::parse(&jobs(1, WARM_UP, 1_000)).unwrap();
    let server = Server::start(script).unwrap();
    let home = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (_daemon, _) = start(home.path(), &server.base_url(), Some(address));

    let p99 = |from: usize| {
        let late = lateness(&server.log(), from);
        late[(late.len() - 1) * 99 / 100] as f64
    };
    let from = server.log().len();
    thread::sleep(load);
    let quiet = p99(from);

    let stop = AtomicBool::new(false);
    let (scraped, mut times) = thread::scope(|scope| {
        let scraper = scope.spawn(|| scrape(&TcpStream::connect(address).unwrap(), &stop));
        let from = server.log().len();
        thread::sleep(load);
        let late = p99(from);
        stop.store(true, Ordering::Relaxed);
        (late, scraper.join().unwrap())
    });
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let (p50, p99, worst) = (at(50), at(99), at(100));
    let rate = times.len() as f64 / load.as_secs_f64();
    let _ = writeln!(
        io::stderr(),
        "{JOBS} jobs: polls are late by {quiet} ms (p99), by {scraped} ms with {rate:.0} scrapes/s; a scrape takes {p50:?} \
         (p50), {p99:?} (p99), {worst:?} (worst)"
    );
    assert!(p99 < MAX_SCRAPE, "{p99:?}");
    assert!(
        scraped < quiet * MAX_RATIO + RESOLUTION_MS,
        "{scraped} ms, {quiet} ms without scrapes"
    );
}

/// Returns how long each scrape took.
fn scrape(mut stream: &TcpStream, stop: &AtomicBool) -> Vec<Duration> {
    let address = stream.peer_addr().unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut response = BufReader::new(stream);
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        stream.write_all(request.as_bytes()).unwrap();
        read(&mut response);
        times.push(began.elapsed());
        thread::sleep(INTERVAL.saturating_sub(began.elapsed()));
    }
    times
}

fn read(response: &mut impl BufRead) {
    let mut length = None;
    for n in 0.. {
        let mut line = String::new();
        response.read_line(&mut line).unwrap();
        assert!(n > 0 || line.contains(" 200 "), "{line}");
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = Some(value.parse().unwrap());
        }
    }
    let mut body = vec![0; length.unwrap()];
    response.read_exact(&mut body).unwrap();
}
