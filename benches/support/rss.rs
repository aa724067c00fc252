//! The memory of a process (Linux).

use std::error::Error;
use std::fs;

/// A value of `/proc/PID/status` in bytes: `VmRSS` is the resident memory, `VmHWM` its peak.
pub(crate) fn memory(process: &str, name: &str) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let digits = line.and_then(|line| line.split_whitespace().next());
    Ok(digits.ok_or("no such line")?.parse::<u64>()? * 1024)
}
