//! Waiting while the disk is full.

use std::mem;
use std::time::Duration;

use tokio::time::sleep;

const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Repeats `attempt` while its error means that the disk is full, for which `full_disk` returns a message: a service that
/// failed at startup would stay down when there is room again.
pub async fn retry_while_full<T, E>(
    full_disk: impl Fn(&E) -> Option<String>,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut is_logged = false;
    loop {
        let result = attempt().await;
        let Some(error) = result.as_ref().err().and_then(&full_disk) else {
            return result;
        };
        if !mem::replace(&mut is_logged, true) {
            tracing::error!(target: "forgewatch::daemon", error, "startup waits for disk space");
        }
        sleep(RETRY_DELAY).await;
    }
}
