//! Tests of both stores.

use forgewatch::store::{Commit, DaemonStore, InMemoryStore, SqliteStore, Store, StoreError};
use forgewatch_core::delivery::{DeliveryChange, DeliveryFailure};

use crate::samples::{Loaded, delivery, open, state_in};

/// The place of a store that is closed and opened again.
trait Location {
    type Store: DaemonStore;
    fn open(&self) -> (Self::Store, Loaded);
    async fn close(&self, store: Self::Store);
}

impl Location for InMemoryStore {
    type Store = Self;

    fn open(&self) -> (Self, Loaded) {
        (self.clone(), Loaded::new(self, self.load()))
    }

    async fn close(&self, _: Self) {}
}

struct SqliteLocation(tempfile::TempDir);

impl Location for SqliteLocation {
    type Store = SqliteStore;

    fn open(&self) -> (SqliteStore, Loaded) {
        open(&state_in(&self.0)).unwrap()
    }

    async fn close(&self, store: SqliteStore) {
        store.close().await;
    }
}

/// Makes each of these functions a test of both stores.
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
                super::$name(&crate::suite::SqliteLocation(tempfile::tempdir().unwrap())).await;
            })*
        }
    };
}

// Below the macro, which is visible only from here on.
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
