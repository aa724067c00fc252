//! Events as a stream, by the specification of server-sent events.

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::unfold;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::body::ApiBody;
use super::problem::Problem;
use super::query::Query;
use super::reply::{self, Reply};
use crate::control::DaemonHandle;
use crate::control::event_pages::FilteredEvent;
use crate::control::event_stream::{EventStream, EventStreamError};
use crate::control::protocol::record::with_offset;
use crate::control::protocol::{EventFilter, Since};
use crate::store::DaemonStore;
use forgewatch_core::event::type_pattern;
use forgewatch_core::job::JobRef;
use forgewatch_core::user_input::{parse_label, quoted};

/// How often a comment shows that the connection works. Proxies close silent ones, most after a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

const LAST_EVENT_ID: &str = "last-event-id";

/// Streams stored events and, unless `follow=false`, later ones.
pub(super) async fn stream<S: DaemonStore>(
    query: Option<&str>,
    headers: &HeaderMap,
    daemon: &DaemonHandle<S>,
) -> Result<Reply, Problem> {
    let names = ["since", "follow", "job", "label", "type"];
    let query = Query::parse(query, &names)?;
    let follow = query.switch("follow", true)?;
    let filter = EventFilter {
        jobs: query.read_all("job", str::parse::<JobRef>)?,
        labels: query.read_all("label", parse_label)?,
        types: query.read_all("type", type_pattern)?,
    };
    let default = if follow { Since::Now } else { Since::Beginning };
    let since = query.read("since", str::parse)?.unwrap_or(default);
    // Sent by a client that was disconnected; the query is that of its first request.
    let since = last_event_id(headers)?.unwrap_or(since);
    let events = daemon.events(since).await.map_err(|error| match error {
        EventStreamError::BeyondLast { offset, last } => Problem::unknown_offset(offset, last),
        EventStreamError::Store(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error),
    })?;
    let feed = Feed {
        events,
        filter,
        follow,
        has_caught_up: false,
        has_ended: false,
    };
    let stream = unfold(feed, async |mut feed| Some((feed.next().await?, feed)));
    let content_type = HeaderValue::from_static("text/event-stream");
    let body = ApiBody::stream(stream.boxed_local());
    let mut reply = reply::of_type(StatusCode::OK, content_type, body);
    // nginx collects a response before it passes it on.
    reply.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(reply)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Since>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    match text.parse() {
        Ok(since @ Since::After(_)) => Ok(Some(since)),
        _ => Err(Problem::parameter(
            "Last-Event-ID",
            format!("expected an offset such as 4711, found {}", quoted(&text)),
        )),
    }
}

struct Feed<S> {
    events: EventStream<S>,
    filter: EventFilter,
    follow: bool,
    has_caught_up: bool,
    has_ended: bool,
}

impl<S: DaemonStore> Feed<S> {
    /// The next part of the stream; None at its end.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.has_ended {
            let page = match self.events.page().await {
                Ok(page) => page,
                Err(error) => {
                    self.has_ended = true;
                    let data = json!({ "detail": error.to_string() });
                    return Some(format!("event: error\ndata: {data}\n\n").into());
                }
            };
            if !page.is_empty() {
                return Some(encode(&page, &self.filter, self.events.position()).into());
            }
            if !std::mem::replace(&mut self.has_caught_up, true) {
                self.has_ended = !self.follow;
                let offset = self.events.position();
                let data = json!({ "offset": offset });
                return Some(format!("event: caught_up\nid: {offset}\ndata: {data}\n\n").into());
            }
            tokio::select! {
                is_running = self.events.wait() => if !is_running {
                    self.has_ended = true;
                    return Some(Bytes::from_static(b"event: stopped\ndata: {}\n\n"));
                },
                () = sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
        None
    }
}

/// The events that pass, and the offset up to which a client need not read again.
fn encode(page: &[Rc<FilteredEvent>], filter: &EventFilter, position: u64) -> String {
    let mut text = String::new();
    let mut last = 0;
    for event in page.iter().filter(|event| event.passes(filter)) {
        last = event.stored.offset;
        if let Ok(record) = RawValue::from_string(event.stored.record.clone()) {
            let record = with_offset(last, &record);
            let _ = write!(text, "id: {last}\ndata: {record}\n\n");
        }
    }
    if last != position {
        let _ = write!(text, "id: {position}\n\n");
    }
    text
}
