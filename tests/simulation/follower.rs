//! A client that follows the events, across all processes.

use std::rc::Rc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use forgewatch::control::event_pages::EventPages;
use forgewatch::control::event_stream::EventStream;
use forgewatch::control::protocol::Since;
use forgewatch::store::InMemoryStore;
use futures_util::FutureExt;
use jsonschema::Validator;
use tokio::sync::watch;

use crate::disk::SimDisk;
use crate::log::FollowedEvent;
use crate::strict_schema::strict;
use crate::world::World;

/// How many records of a run are validated against the published schema.
const VALIDATED: u64 = 100_000;
static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| strict("event"));
static RECORDS: AtomicU64 = AtomicU64::new(0);

fn validate(record: &str) {
    if RECORDS.fetch_add(1, Ordering::Relaxed) < VALIDATED {
        let value = serde_json::from_str(record).unwrap();
        if let Err(error) = VALIDATOR.validate(&value) {
            panic!("{error}, at {}: {record}", error.instance_path());
        }
    }
}

/// It reads the content of the disk directly, so it neither delays the daemon nor draws random numbers.
pub(crate) struct Follower {
    notify: watch::Sender<u64>,
    stream: EventStream<InMemoryStore>,
}

impl Follower {
    /// Connects to a new process and resumes behind the last event.
    pub(crate) async fn connect(world: &World, disk: &SimDisk) -> Self {
        let last = world.log(|log| log.followed.last().map(|event| event.offset));
        let since = last.map_or(Since::Beginning, Since::After);
        let (notify, commits) = watch::channel(0);
        let pages = Rc::new(EventPages::new(disk.content(), commits));
        let stream = EventStream::open(pages, since).await;
        let mut follower = Self {
            notify,
            stream: stream.unwrap(),
        };
        follower.read(world);
        follower
    }

    /// The daemon has published events.
    pub(crate) fn notify(&mut self, world: &World) {
        self.notify.send_modify(|commits| *commits += 1);
        assert_eq!(self.stream.wait().now_or_never(), Some(true));
        self.read(world);
    }

    fn read(&mut self, world: &World) {
        loop {
            let page = self.stream.page().now_or_never().unwrap().unwrap();
            if page.is_empty() {
                return;
            }
            for event in &page {
                validate(&event.stored.record);
                let at = world.stamp();
                let (id, offset) = (event.stored.id, event.stored.offset);
                world.log(|log| log.followed.push(FollowedEvent { at, id, offset }));
            }
        }
    }
}
