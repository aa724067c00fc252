//! Receives signals, also during work that may wait for the disk.

use std::collections::VecDeque;
use std::pin::pin;

use crate::os::signals::{Signal, Signals};

pub(super) struct SignalListener {
    signals: Signals,
    /// Received by [`Self::unless_stopped`], for [`Self::next`].
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

    /// Runs `work`. None if a stop signal canceled it.
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
