//! Stub: replaced by the schedule branch.
use crate::core::status::Status;
#[derive(Debug, Default)]
pub struct ServerClock;
impl ServerClock {
    pub fn hear(&mut self, wall_ms: i64, date: Option<i64>, _status: &Status) -> i64 {
        date.map_or(wall_ms, |d| d * 1000)
    }
}
