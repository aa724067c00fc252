//! The signals that ask for an end, as a stream.

use std::io;

use futures_util::stream::StreamExt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;

/// One of the two signals that end a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT: somebody pressed Ctrl-C.
    Interrupt,
    /// SIGTERM: something manages this process.
    Terminate,
}

impl Stop {
    /// The exit status by which shells tell of the signal: 128 and its number.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// SIGINT and SIGTERM of this process, caught from here on.
pub struct Stops(Signals);

impl Stops {
    /// Begins to catch them.
    pub fn catch() -> io::Result<Self> {
        Signals::new([SIGINT, SIGTERM]).map(Self)
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Stop {
        match self.0.next().await {
            Some(SIGINT) => Stop::Interrupt,
            Some(_) => Stop::Terminate,
            // The stream only ends when its handle is closed, which nobody does.
            None => std::future::pending().await,
        }
    }
}
