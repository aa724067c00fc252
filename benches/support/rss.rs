//! How much memory a process has (Linux).

use std::error::Error;
use std::fs;

/// The value of a line of `/proc/PID/status` that is told in kB, in bytes: `VmRSS` is what is resident now, `VmHWM`
/// the most that ever was.
pub(crate) fn memory(process: &str, name: &str) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let digits = line.and_then(|line| line.split_whitespace().next());
    Ok(digits.ok_or("no such line")?.parse::<u64>()? * 1024)
}
