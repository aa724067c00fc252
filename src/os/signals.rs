//! The signals that the process handles, as streams, and the dispositions that it inherits.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use futures_util::stream::StreamExt;
use nix::sys::signal::SigSet;
use rustix::process::getpid;
use signal_hook::consts::{FORBIDDEN, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag;
use signal_hook_tokio::Signals as SignalStream;

/// Whether SIGINT and SIGTERM end process 1 at once, as long as [`super::init`] does not run it: the kernel applies no
/// default action to it.
static ENDS_PROCESS_1: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Unblocks all signals and replaces dispositions under which the process could not work. Called first, as threads and
/// children inherit the mask.
pub fn init() -> io::Result<()> {
    use TerminationSignal::{Interrupt, Terminate};
    SigSet::empty().thread_set_mask()?;
    // A file at the limit of its size becomes an error of the write.
    catch(SIGXFSZ)?;
    if getpid().is_init() {
        ENDS_PROCESS_1.store(true, Ordering::Relaxed);
        let ignored = ignored();
        for (number, stop) in [(SIGINT, Interrupt), (SIGTERM, Terminate)] {
            if !has(ignored, number) {
                let (status, ends) = (stop.exit_status().into(), Arc::clone(&ENDS_PROCESS_1));
                flag::register_conditional_shutdown(number, status, ends)?;
            }
        }
    }
    Ok(())
}

/// Catches every ignored signal: programs inherit ignored signals, while caught ones have their default action again.
/// With SIGCHLD ignored, the end of a program could not be observed either.
pub fn reset_ignored() {
    let ignored = ignored();
    for number in (1..=64).filter(|number| has(ignored, *number)) {
        if !FORBIDDEN.contains(&number) {
            // Fails for the two signals that the C library keeps for itself.
            let _ = catch(number);
        }
    }
}

fn catch(number: i32) -> io::Result<()> {
    flag::register(number, Arc::<AtomicBool>::default()).map(drop)
}

/// `SigIgn` of `proc_pid_status(5)`, a bit per signal; none without `/proc`.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

fn has(mask: u64, number: i32) -> bool {
    mask >> (number - 1) & 1 == 1
}

/// Those of the signals that this process does not ignore.
pub(super) fn not_ignored(numbers: &[i32]) -> impl Iterator<Item = i32> {
    let ignored = ignored();
    numbers
        .iter()
        .copied()
        .filter(move |number| !has(ignored, *number))
}

/// From now on, signals no longer end process 1 by themselves.
pub(super) fn keep_process_1() {
    ENDS_PROCESS_1.store(false, Ordering::Relaxed);
}

/// Handles these signals, but leaves an ignored SIGINT ignored: the shell starts background jobs of scripts with it.
fn listen(numbers: &[i32]) -> io::Result<SignalStream> {
    let ignored = ignored();
    let handled = numbers
        .iter()
        .filter(|number| **number != SIGINT || !has(ignored, SIGINT));
    let stream = SignalStream::new(handled)?;
    keep_process_1();
    Ok(stream)
}

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
        listen(&[SIGINT, SIGTERM, SIGHUP, SIGUSR1]).map(Self)
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
        listen(&[SIGINT, SIGTERM]).map(|stream| Self(Signals(stream)))
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
        // The runner may be a background job of a script.
        reset_ignored();
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
