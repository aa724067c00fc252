//! The signals that the process handles, as streams.

use std::io;

use futures_util::stream::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals as SignalStream;

/// One of the two signals that end a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminationSignal {
    Interrupt,
    Terminate,
}

impl TerminationSignal {
    /// The exit status that shells use for the signal: 128 plus its number.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// A signal that the daemon handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Stop(TerminationSignal),
    /// SIGHUP.
    Reload,
    /// SIGUSR1: log a summary.
    Summary,
}

impl Signal {
    fn from_number(number: i32) -> Option<Self> {
        match number {
            SIGINT => Some(Self::Stop(TerminationSignal::Interrupt)),
            SIGTERM => Some(Self::Stop(TerminationSignal::Terminate)),
            SIGHUP => Some(Self::Reload),
            SIGUSR1 => Some(Self::Summary),
            _ => None,
        }
    }
}

/// All signals that the daemon handles. The same signal received twice before the first is taken counts once.
pub struct Signals(SignalStream);

impl Signals {
    pub fn listen() -> io::Result<Self> {
        SignalStream::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1]).map(Self)
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Signal {
        while let Some(number) = self.0.next().await {
            if let Some(signal) = Signal::from_number(number) {
                return signal;
            }
        }
        // The stream ends only when its handle is closed, which does not happen here.
        std::future::pending().await
    }
}

/// SIGINT and SIGTERM, the signals that commands other than the daemon handle.
pub struct TerminationSignals(Signals);

impl TerminationSignals {
    pub fn listen() -> io::Result<Self> {
        SignalStream::new([SIGINT, SIGTERM]).map(|stream| Self(Signals(stream)))
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> TerminationSignal {
        loop {
            if let Signal::Stop(stop) = self.0.next().await {
                return stop;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::low_level::raise;

    use super::*;

    // One test: a signal reaches every stream of the process.
    #[tokio::test]
    async fn every_stream_that_handles_a_signal_receives_it() {
        let mut signals = Signals::listen().unwrap();
        let mut stops = TerminationSignals::listen().unwrap();
        for (number, signal) in [
            (SIGHUP, Signal::Reload),
            (SIGUSR1, Signal::Summary),
            (SIGINT, Signal::Stop(TerminationSignal::Interrupt)),
            (SIGTERM, Signal::Stop(TerminationSignal::Terminate)),
        ] {
            raise(number).unwrap();
            assert_eq!(signals.next().await, signal);
            if let Signal::Stop(stop) = signal {
                assert_eq!(stops.next().await, stop);
            }
        }
    }
}
