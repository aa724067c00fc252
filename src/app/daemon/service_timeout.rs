//! Extends the service manager's time limit during a long startup or shutdown.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::os::notify;

/// The length of one extension.
const EXTENSION: Duration = Duration::from_secs(10);

/// Runs `work` and extends the time limit meanwhile, for `most` in total: work that takes longer is considered stuck.
pub(super) async fn with_extended_timeout<T>(
    most: Option<Duration>,
    work: impl Future<Output = T>,
) -> T {
    let until = most.map(|most| Instant::now() + most);
    let mut extensions = interval(EXTENSION / 4);
    let mut work = pin!(work);
    loop {
        let may_extend = until.is_none_or(|until| Instant::now() < until);
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = extensions.tick(), if may_extend => notify::extend_timeout(EXTENSION),
        }
    }
}
