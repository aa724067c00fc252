//! What holds for every store.

use forgewatch::store::{Archive, Commit, InMemoryStore, Loaded, Sqlite, Store, StoreError};
use forgewatch_core::delivery::{DeliveryChange, DeliveryFailure};

use crate::samples::{delivery, state_in};

/// Where a store lives on between two openings.
trait Home {
    type Store: Archive;
    fn open(&self) -> (Self::Store, Loaded);
    async fn close(&self, store: Self::Store);
}

impl Home for InMemoryStore {
    type Store = Self;

    fn open(&self) -> (Self, Loaded) {
        (self.clone(), self.load())
    }

    async fn close(&self, _: Self) {}
}

struct Disk(tempfile::TempDir);

impl Home for Disk {
    type Store = Sqlite;

    fn open(&self) -> (Sqlite, Loaded) {
        Sqlite::open(&state_in(&self.0)).unwrap()
    }

    async fn close(&self, store: Sqlite) {
        store.close().await;
    }
}

/// Each of these functions is a test of either store.
macro_rules! both {
    ($($name:ident)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&forgewatch::store::InMemoryStore::default()).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&crate::suite::Disk(tempfile::tempdir().unwrap())).await;
            })*
        }
    };
}

// Behind the macro, which nobody above it could use.
mod deliveries;
mod events;
mod watches;

async fn change(store: &impl Store, change: DeliveryChange) -> Result<(), StoreError> {
    let commit = Commit {
        changes: &[change],
        ..Commit::default()
    };
    store.commit(commit).await
}

async fn begin(store: &impl Store, n: u64, seq: u32, attempt: u32) -> Result<(), StoreError> {
    let id = delivery(n, seq);
    change(store, DeliveryChange::Begin { id, attempt }).await
}

fn failure() -> DeliveryFailure {
    DeliveryFailure {
        error: "exit status 1".to_owned(),
        exit_status: Some(1),
    }
}
