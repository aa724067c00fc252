//! Reads stored events from any position, and later ones as they are committed.

use std::rc::Rc;

use tokio::sync::watch;

use super::event_pages::{EventPages, FilteredEvent};
use super::protocol::Since;
use crate::store::{DaemonStore, StoreError};

/// A position in the events of a store. The channel only announces new events, so that a slow reader needs no buffer.
#[derive(Debug)]
pub struct EventStream<S> {
    pages: Rc<EventPages<S>>,
    commits: watch::Receiver<u64>,
    after: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum EventStreamError {
    #[error("offset {offset} is beyond the last event, {last}")]
    BeyondLast { offset: u64, last: u64 },
    #[error("cannot read events: {0}")]
    Store(#[from] StoreError),
}

impl<S: DaemonStore> EventStream<S> {
    pub async fn open(pages: Rc<EventPages<S>>, since: Since) -> Result<Self, EventStreamError> {
        let store = pages.store();
        let after = match since {
            Since::Beginning => 0,
            Since::At(wall_ms) => store.offset_before(wall_ms).await?,
            // The newest event is never pruned.
            Since::Now => store.offset_before(i64::MAX).await?,
            Since::After(offset) => {
                let last = store.offset_before(i64::MAX).await?;
                // Probably an offset of another state file: a follower would silently miss all events before it.
                if offset > last {
                    return Err(EventStreamError::BeyondLast { offset, last });
                }
                offset
            }
        };
        Ok(Self {
            commits: pages.commits(),
            pages,
            after,
        })
    }

    /// The offset of the last event that was read.
    pub fn position(&self) -> u64 {
        self.after
    }

    /// The next stored events; empty if there are none yet.
    pub async fn page(&mut self) -> Result<Vec<Rc<FilteredEvent>>, EventStreamError> {
        // Before the query, so that events committed during it count as new.
        self.commits.mark_unchanged();
        let page = self.pages.after(self.after).await?;
        self.after = page.last().map_or(self.after, |event| event.stored.offset);
        Ok(page)
    }

    /// Waits for new events; false if the daemon stops. Cancel-safe.
    pub async fn wait(&mut self) -> bool {
        self.commits.changed().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use forgewatch_core::event::{Event, EventFields, EventId, EventType, WatchId};

    use super::*;
    use crate::store::{Commit, InMemoryStore, Store};

    fn pages(
        store: &InMemoryStore,
        commits: watch::Receiver<u64>,
    ) -> Rc<EventPages<InMemoryStore>> {
        Rc::new(EventPages::new(store.clone(), commits))
    }

    async fn commit(store: &InMemoryStore, seq: u32) {
        let event = Event {
            id: EventId {
                watch: WatchId([7; 16]),
                seq,
            },
            kind: EventType::WatchStarted,
            wall_ms: i64::from(seq) * 1_000,
            job: None,
            meta: None,
            fields: EventFields::default(),
        };
        let commit = Commit {
            events: &[event],
            ..Commit::default()
        };
        store.commit(commit).await.unwrap();
    }

    async fn read(stream: &mut EventStream<InMemoryStore>) -> Vec<u32> {
        let mut numbers = Vec::new();
        loop {
            let page = stream.page().await.unwrap();
            if page.is_empty() {
                return numbers;
            }
            numbers.extend(page.iter().map(|event| event.stored.id.seq));
        }
    }

    #[tokio::test]
    async fn a_stream_begins_at_any_position_and_continues_with_new_events() {
        let store = InMemoryStore::default();
        for seq in 1..=600 {
            commit(&store, seq).await;
        }
        for (since, first) in [
            (Since::Beginning, 1),
            (Since::After(598), 599),
            (Since::At(600_000), 600),
            (Since::Now, 601),
        ] {
            let (_notify, new_events) = watch::channel(0);
            let mut stream = EventStream::open(pages(&store, new_events), since)
                .await
                .unwrap();
            let expected: Vec<u32> = (first..=600).collect();
            assert_eq!(read(&mut stream).await, expected, "{since:?}");
        }
        let (notify, new_events) = watch::channel(0);
        let mut stream = EventStream::open(pages(&store, new_events), Since::Now)
            .await
            .unwrap();
        for seq in 601..=603 {
            commit(&store, seq).await;
            notify.send_modify(|commits| *commits += 1);
            assert!(stream.wait().await);
            assert_eq!(read(&mut stream).await, [seq]);
        }
        drop(notify);
        assert!(!stream.wait().await, "the daemon has stopped");
    }

    #[tokio::test]
    async fn streams_at_different_positions_read_every_event_once() {
        let store = InMemoryStore::default();
        let (notify, new_events) = watch::channel(0);
        let pages = pages(&store, new_events);
        let commit_next = async |range: RangeInclusive<u32>| {
            for seq in range {
                commit(&store, seq).await;
                notify.send_modify(|commits| *commits += 1);
            }
        };
        commit_next(1..=1_000).await;
        // The last one is ahead of what the others have read.
        let mut streams = Vec::new();
        for after in [0, 300, 700, 1_000] {
            let since = Since::After(after);
            let stream = EventStream::open(Rc::clone(&pages), since).await.unwrap();
            streams.push((after, stream, Vec::new()));
        }
        for round in 0..10 {
            for (at, (_, stream, seqs)) in streams.iter_mut().enumerate() {
                let page = stream.page().await.unwrap();
                assert!(page.len() <= 256);
                seqs.extend(page.iter().map(|event| event.stored.id.seq));
                let next = 1_001 + round * 4 + u32::try_from(at).unwrap();
                commit_next(next..=next).await;
            }
        }
        for (after, stream, seqs) in &mut streams {
            seqs.extend(read(stream).await);
            let first = u32::try_from(*after).unwrap() + 1;
            assert!(seqs.iter().copied().eq(first..=1_040), "{after}: {seqs:?}");
        }
    }

    #[tokio::test]
    async fn an_event_that_one_stream_has_read_is_not_read_again_for_another() {
        let store = InMemoryStore::default();
        let (notify, new_events) = watch::channel(0);
        let pages = pages(&store, new_events);
        let open = || EventStream::open(Rc::clone(&pages), Since::Beginning);
        let (mut first, mut second) = (open().await.unwrap(), open().await.unwrap());
        for seq in 1..=3 {
            commit(&store, seq).await;
            notify.send_modify(|commits| *commits += 1);
        }
        assert_eq!(read(&mut first).await, [1, 2, 3]);
        // Only what was read before is left of the others.
        assert_eq!(store.prune(i64::MAX).await.unwrap(), 2);
        commit(&store, 4).await;
        notify.send_modify(|commits| *commits += 1);
        assert_eq!(read(&mut second).await, [1, 2, 3, 4]);
        assert_eq!(read(&mut first).await, [4]);
        assert_eq!(store.events_since(0, 10).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn events_before_a_stop_are_not_lost() {
        let store = InMemoryStore::default();
        let (notify, new_events) = watch::channel(0);
        let mut stream = EventStream::open(pages(&store, new_events), Since::Now)
            .await
            .unwrap();
        assert!(read(&mut stream).await.is_empty());
        commit(&store, 1).await;
        notify.send_modify(|commits| *commits += 1);
        drop(notify);
        assert!(stream.wait().await);
        assert_eq!(read(&mut stream).await, [1]);
        assert!(!stream.wait().await);
    }

    #[tokio::test]
    async fn an_offset_beyond_the_last_event_is_an_error() {
        let store = InMemoryStore::default();
        commit(&store, 1).await;
        let (_notify, new_events) = watch::channel(0);
        let error = EventStream::open(pages(&store, new_events), Since::After(2))
            .await
            .unwrap_err();
        assert!(
            matches!(error, EventStreamError::BeyondLast { offset: 2, last: 1 }),
            "{error}"
        );
    }
}
