//! The signals that the process understands, as streams.

use std::io;

use futures_util::stream::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals as Stream;

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

/// What a signal asks of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end.
    Stop(Stop),
    /// SIGHUP: to take the configuration file anew.
    Reload,
    /// SIGUSR1: to log a summary.
    Summary,
}

impl Signal {
    /// None for a signal that nobody catches here.
    fn of(number: i32) -> Option<Self> {
        match number {
            SIGINT => Some(Self::Stop(Stop::Interrupt)),
            SIGTERM => Some(Self::Stop(Stop::Terminate)),
            SIGHUP => Some(Self::Reload),
            SIGUSR1 => Some(Self::Summary),
            _ => None,
        }
    }
}

/// All that a daemon understands, caught from here on. Two of a kind that come before the first was taken are one.
pub struct Signals(Stream);

impl Signals {
    /// Begins to catch them.
    pub fn catch() -> io::Result<Self> {
        Stream::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1]).map(Self)
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Signal {
        while let Some(number) = self.0.next().await {
            if let Some(signal) = Signal::of(number) {
                return signal;
            }
        }
        // The stream only ends when its handle is closed, which nobody does.
        std::future::pending().await
    }
}

/// SIGINT and SIGTERM of this process alone, caught from here on: what a command understands that is no daemon.
pub struct Stops(Stream);

impl Stops {
    /// Begins to catch them.
    pub fn catch() -> io::Result<Self> {
        Stream::new([SIGINT, SIGTERM]).map(Self)
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Stop {
        while let Some(number) = self.0.next().await {
            if let Some(Signal::Stop(stop)) = Signal::of(number) {
                return stop;
            }
        }
        // As above.
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::low_level::raise;

    use super::*;

    // One test: a signal reaches every stream of the process.
    #[tokio::test]
    async fn each_signal_is_told_to_whoever_understands_it_and_the_others_live_on() {
        let mut signals = Signals::catch().unwrap();
        let mut stops = Stops::catch().unwrap();
        for (number, signal) in [
            (SIGHUP, Signal::Reload),
            (SIGUSR1, Signal::Summary),
            (SIGINT, Signal::Stop(Stop::Interrupt)),
            (SIGTERM, Signal::Stop(Stop::Terminate)),
        ] {
            raise(number).unwrap();
            assert_eq!(signals.next().await, signal);
            if let Signal::Stop(stop) = signal {
                assert_eq!(stops.next().await, stop);
            }
        }
    }
}
