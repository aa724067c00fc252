//! Signals, heard also while something is waited for that may take as long as the disk likes.

use std::collections::VecDeque;
use std::pin::pin;

use crate::os::signals::{Signal, Signals};

/// Hears signals.
pub(super) struct SignalListener {
    signals: Signals,
    /// What came while something was done.
    later: VecDeque<Signal>,
}

impl SignalListener {
    pub(super) fn new(signals: Signals) -> Self {
        let later = VecDeque::new();
        Self { signals, later }
    }

    /// The next signal. Cancel-safe.
    pub(super) async fn next(&mut self) -> Signal {
        match self.later.pop_front() {
            Some(signal) => signal,
            None => self.signals.next().await,
        }
    }

    /// Does something. None where a stop came first: what was not done by then is not done.
    pub(super) async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                signal = self.signals.next() => match signal {
                    Signal::Stop(_) => return None,
                    other => self.later.push_back(other),
                },
            }
        }
    }
}
