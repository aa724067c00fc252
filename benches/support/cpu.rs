//! The processor time of this process's main thread, user and system together (Linux).

use std::error::Error;
use std::fs;

/// Nanoseconds so far. The kernel updates them when the thread leaves the processor and at every tick, so a measured
/// span should be a hundred times longer than a tick of a few milliseconds.
pub(crate) fn main_thread_ns() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    let on_cpu = text.split_whitespace().next().ok_or("schedstat is empty")?;
    Ok(on_cpu.parse()?)
}
