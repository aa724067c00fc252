//! Time from the service manager, for a start or a stop that takes long.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::os::notify;

/// It is asked for this much more, again and again.
const EXTENSION: Duration = Duration::from_secs(10);

/// Does this, and asks the service manager for time meanwhile. What takes longer than `most` hangs, and gets no more; None
/// where it may take as long as it likes.
pub(super) async fn with_extended_timeout<T>(
    most: Option<Duration>,
    work: impl Future<Output = T>,
) -> T {
    let until = most.map(|most| Instant::now() + most);
    let mut extensions = interval(EXTENSION / 4);
    let mut work = pin!(work);
    loop {
        let may_take_longer = until.is_none_or(|until| Instant::now() < until);
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = extensions.tick(), if may_take_longer => notify::extend(EXTENSION),
        }
    }
}
