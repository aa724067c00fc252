//! Accepts connections of any kind, up to a limit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// How long to wait for a free connection or file descriptor before idle clients are disconnected.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long a client may be idle while others wait.
const BUSY_IDLE_TIME: Duration = Duration::from_millis(500);

/// The limit of concurrent connections; more wait in the kernel's accept queue.
#[derive(Debug)]
pub struct ConnectionLimit {
    connections: Arc<Semaphore>,
    busy: Notify,
}

impl ConnectionLimit {
    pub fn new(most: usize) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(most)),
            busy: Notify::new(),
        }
    }

    /// Resolves when a connection that has been idle for some time keeps other clients waiting.
    pub async fn idle_too_long(&self) {
        sleep(BUSY_IDLE_TIME).await;
        self.busy.notified().await;
    }

    /// Waits for a free connection; disconnects idle clients if there is none.
    async fn acquire(&self) -> OwnedSemaphorePermit {
        loop {
            let permit = Arc::clone(&self.connections).acquire_owned();
            if let Ok(Ok(permit)) = timeout(RETRY_DELAY, permit).await {
                return permit;
            }
            self.busy.notify_waiters();
        }
    }

    /// Accepts connections for ever. `serve` holds the permit for as long as its connection is open. `clients` names them
    /// in the log.
    pub async fn accept<T>(
        &self,
        clients: &'static str,
        accept: impl AsyncFn() -> io::Result<T>,
        serve: impl Fn(T, OwnedSemaphorePermit),
    ) {
        let mut failing = false;
        loop {
            let permit = self.acquire().await;
            match accept().await {
                Ok(connection) => {
                    failing = false;
                    serve(connection, permit);
                }
                // Out of file descriptors: idle clients hold some.
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            target: "forgewatch::control",
                            %error,
                            "cannot accept clients of the {clients}"
                        );
                    }
                    self.busy.notify_waiters();
                    sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn notify_busy(&self) {
        self.busy.notify_waiters();
    }
}
