//! One client, from its first byte to its last.

use std::io;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::codec;
use super::peer_auth::PeerAuth;
use super::protocol::{Answer, MAX_REQUEST, Request, Since};
use super::server::PendingRequest;
use crate::store::{Archive, Sqlite, StoreError, StoredEvent};

/// How long a client may take to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// The same where others wait for its place.
const CROWDED_TIME: Duration = Duration::from_millis(500);
/// How long it may take to take an answer, or a page of events.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How many events are read and written at a time.
const PAGE: usize = 256;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) doorman: PeerAuth,
    pub(super) store: Sqlite,
    pub(super) ask: mpsc::Sender<PendingRequest>,
    /// Changes whenever there are new events; its sender goes when the daemon stops.
    pub(super) notify_events: watch::Receiver<()>,
    /// The right to read events.
    pub(super) readers: Semaphore,
    /// Tells those that have not been heard yet that others wait.
    pub(super) crowded: Notify,
}

/// Hears a client's request and answers it. What goes wrong with the connection is the client's business alone.
pub(super) async fn serve(mut stream: UnixStream, shared: &Shared) {
    let Ok(peer) = stream.peer_cred() else {
        return;
    };
    let (uid, pid) = (peer.uid(), peer.pid().unwrap_or_default());
    if !shared.doorman.admits(&peer) {
        tracing::warn!(uid, pid, "refused a client of the control socket");
        let why = format!(
            "user {uid} may not control this daemon: neither root, nor its own user, nor known as a member of its \
             control.group"
        );
        let _ = say(&mut stream, &Answer::refused(why)).await;
        return;
    }
    let heard = tokio::select! {
        biased;
        heard = hear(&mut stream) => heard,
        () = in_the_way(shared) => Err("no whole request came, and others wait".to_owned()),
    };
    let answer = match heard {
        Err(why) => Answer::refused(why),
        Ok(Request::Events { since, follow }) => {
            let _ = tell(&mut stream, shared, since, follow).await;
            return;
        }
        Ok(request) => {
            if let Some(change) = request.change() {
                tracing::info!(uid, pid, change, "asked for through the control socket");
            }
            match of_daemon(request, &mut stream, shared).await {
                Some(answer) => answer,
                None => return,
            }
        }
    };
    let _ = say(&mut stream, &answer).await;
}

/// Resolves when a client that is still not heard takes the place of others.
async fn in_the_way(shared: &Shared) {
    sleep(CROWDED_TIME).await;
    shared.crowded.notified().await;
}

/// Reads the request. Err says why there is none.
async fn hear(stream: &mut UnixStream) -> Result<Request, String> {
    let mut line = Vec::new();
    // The limit is the reader's: no longer line is ever held.
    let mut limited = BufReader::new(stream.take(MAX_REQUEST as u64));
    match timeout(REQUEST_TIME, limited.read_until(b'\n', &mut line)).await {
        Err(_) => Err(format!(
            "no whole request came within {} s",
            REQUEST_TIME.as_secs()
        )),
        Ok(Err(error)) => Err(format!("the request can't be read: {error}")),
        Ok(Ok(_)) => codec::request(&line).map_err(|why| why.to_string()),
    }
}

/// Has the daemon answer; None where the client has gone meanwhile. What is asked reaches the daemon all the same.
async fn of_daemon(request: Request, stream: &mut UnixStream, shared: &Shared) -> Option<Answer> {
    let stopping = || Answer::refused("the daemon is stopping");
    let (reply, answer) = oneshot::channel();
    if shared
        .ask
        .send(PendingRequest { request, reply })
        .await
        .is_err()
    {
        return Some(stopping());
    }
    // With a full disk it takes as long as that lasts, and nobody needs a place who does not wait for it any more.
    tokio::select! {
        biased;
        answer = answer => Some(answer.unwrap_or_else(|_| stopping())),
        () = gone(stream) => None,
    }
}

/// Tells the events, and goes on as they come for one who follows, until either side goes.
async fn tell(
    stream: &mut UnixStream,
    shared: &Shared,
    since: Since,
    follow: bool,
) -> io::Result<()> {
    // Whoever reads slowly takes as long as one who follows.
    let Ok(_reader) = shared.readers.try_acquire() else {
        let busy =
            "as many read events already as the daemon bears; try again when one of them has ended";
        return say(stream, &Answer::refused(busy)).await;
    };
    let mut notify_events = shared.notify_events.clone();
    let mut after = match start(&shared.store, since).await {
        Ok(after) => after,
        Err(why) => return say(stream, &why).await,
    };
    loop {
        // Before the look, so that what comes after it is news.
        notify_events.mark_unchanged();
        let page = match shared.store.events_since(after, PAGE).await {
            Ok(page) => page,
            Err(error) => return say(stream, &unreadable(&error)).await,
        };
        let whole = page.len() == PAGE;
        after = page.last().map_or(after, |event| event.offset);
        write(stream, &lines(page)?).await?;
        if whole {
            continue;
        }
        if !follow {
            return say(stream, &Answer::Done).await;
        }
        tokio::select! {
            more = notify_events.changed() => if more.is_err() {
                return say(stream, &Answer::Stopped).await;
            },
            () = gone(stream) => return Ok(()),
        }
    }
}

/// The offset behind which a stream begins; Err says why there is none.
async fn start(store: &Sqlite, since: Since) -> Result<u64, Answer> {
    let before = async |wall_ms| {
        let offset = store.offset_before(wall_ms).await;
        offset.map_err(|error| unreadable(&error))
    };
    match since {
        Since::Beginning => Ok(0),
        Since::At(wall_ms) => before(wall_ms).await,
        // The newest event is never pruned.
        Since::Now => before(i64::MAX).await,
        Since::After(offset) => {
            let last = before(i64::MAX).await?;
            if offset > last {
                // Of another state, perhaps. Who waited for it would hear nothing of all that comes before.
                return Err(Answer::refused(format!(
                    "no event has the offset {offset}: the last offset is {last}; if the state was begun anew, begin \
                     with --since 0"
                )));
            }
            Ok(offset)
        }
    }
}

fn unreadable(error: &StoreError) -> Answer {
    Answer::refused(format!("the events can't be read: {error}"))
}

/// A page of events, a line each.
fn lines(page: Vec<StoredEvent>) -> io::Result<String> {
    let mut text = String::new();
    for event in page {
        let record = RawValue::from_string(event.record)?;
        let offset = event.offset;
        text.push_str(&line(&Answer::Event { offset, record })?);
    }
    Ok(text)
}

fn line(answer: &Answer) -> io::Result<String> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    Ok(line)
}

async fn say(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    write(stream, &line(answer)?).await
}

async fn write(stream: &mut UnixStream, text: &str) -> io::Result<()> {
    timeout(ANSWER_TIME, stream.write_all(text.as_bytes())).await?
}

/// Resolves when the client closes its end. What it still says is not heard.
async fn gone(stream: &mut UnixStream) {
    let mut unheard = [0; 64];
    while !matches!(stream.read(&mut unheard).await, Ok(0) | Err(_)) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    /// One client's connection to a daemon that answers with this text.
    struct Scene {
        client: UnixStream,
        server: UnixStream,
        shared: Shared,
        asked: mpsc::Receiver<PendingRequest>,
        _news: watch::Sender<()>,
        _state: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            let state = tempfile::tempdir().unwrap();
            let (store, _) = Sqlite::open(&state.path().join("state.db")).unwrap();
            let (client, server) = UnixStream::pair().unwrap();
            let (ask, asked) = mpsc::channel(1);
            let (notify_events, heard) = watch::channel(());
            let shared = Shared {
                doorman: PeerAuth::new(rustix::process::geteuid().as_raw(), None),
                store,
                ask,
                notify_events: heard,
                readers: Semaphore::new(1),
                crowded: Notify::new(),
            };
            Self {
                client,
                server,
                shared,
                asked,
                _news: notify_events,
                _state: state,
            }
        }
    }

    async fn all(client: &mut UnixStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_told_so_and_let_go() {
        let mut scene = Scene::new();
        let began = Instant::now();
        serve(scene.server, &scene.shared).await;
        assert_eq!(began.elapsed().as_secs(), REQUEST_TIME.as_secs());
        let told = all(&mut scene.client).await;
        assert!(told.contains("no whole request came within 5 s"), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_dribbles_has_no_more_time_than_others() {
        let scene = Scene::new();
        let mut client = scene.client;
        let dribble = tokio::spawn(async move {
            while client.write_all(b" ").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let began = Instant::now();
        serve(scene.server, &scene.shared).await;
        assert_eq!(began.elapsed().as_secs(), REQUEST_TIME.as_secs());
        dribble.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_makes_room_for_others_after_a_moment() {
        let mut scene = Scene::new();
        let began = Instant::now();
        let crowd = async {
            loop {
                scene.shared.crowded.notify_waiters();
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = serve(scene.server, &scene.shared) => {}
            () = crowd => {}
        }
        let moment = CROWDED_TIME..CROWDED_TIME + Duration::from_millis(200);
        assert!(moment.contains(&began.elapsed()), "{:?}", began.elapsed());
        let told = all(&mut scene.client).await;
        assert!(told.contains("and others wait"), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_take_its_answer_is_let_go() {
        let mut scene = Scene::new();
        scene.client.write_all(b"\"hooks\"\n").await.unwrap();
        let daemon = async {
            let asked = scene.asked.recv().await.unwrap();
            assert_eq!(asked.request, Request::Hooks);
            let long = Answer::refused("x".repeat(8 << 20));
            asked.reply.send(long).unwrap();
        };
        let began = Instant::now();
        tokio::join!(serve(scene.server, &scene.shared), daemon);
        assert_eq!(began.elapsed().as_secs(), ANSWER_TIME.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_hangs_up_while_the_daemon_works_leaves_its_place() {
        let mut scene = Scene::new();
        let request = b"{\"remove\":{\"jobs\":[\"diff/1\"]}}\n";
        scene.client.write_all(request).await.unwrap();
        let daemon = async {
            let asked = scene.asked.recv().await.unwrap();
            drop(scene.client);
            asked
        };
        let served = async { tokio::join!(serve(scene.server, &scene.shared), daemon).1 };
        let asked = timeout(Duration::from_hours(1), served).await;
        let asked = asked.expect("it keeps its place");
        assert!(asked.reply.is_closed(), "the daemon does not learn of it");
    }

    #[tokio::test]
    async fn what_a_client_says_while_the_daemon_works_is_no_hanging_up() {
        let mut scene = Scene::new();
        scene.client.write_all(b"\"hooks\"\nmore").await.unwrap();
        let daemon = async {
            let asked = scene.asked.recv().await.unwrap();
            scene.client.write_all(b"and more").await.unwrap();
            // The connection gets its turn, and hears that.
            tokio::task::yield_now().await;
            asked.reply.send(Answer::Done).unwrap();
        };
        tokio::join!(serve(scene.server, &scene.shared), daemon);
        let mut told = [0; 7];
        scene.client.read_exact(&mut told).await.unwrap();
        assert_eq!(&told, b"\"done\"\n");
    }

    #[tokio::test]
    async fn a_request_the_daemon_lets_fall_is_answered_all_the_same() {
        let mut scene = Scene::new();
        scene.client.write_all(b"\"reload\"\n").await.unwrap();
        let daemon = async { drop(scene.asked.recv().await) };
        tokio::join!(serve(scene.server, &scene.shared), daemon);
        let told = all(&mut scene.client).await;
        assert!(told.contains("the daemon is stopping"), "{told}");
    }
}
