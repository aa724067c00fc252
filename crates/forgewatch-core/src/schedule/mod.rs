//! When to poll a job next.
//!
//! Each poll costs the API a request; each second between the end of a job and the poll that sees it costs the user
//! waiting time. With `request_cost` k, the delay that one request is worth, a watch costs `requests +
//! detection_delay / k`. The schedule minimizes that cost however accurate the server's ETA is. `watch` calls
//! [`History::observe`] with every status that does not end the job and [`History::calibration_update`] with the one
//! that does; the engine owns the [`Calibration`] and, for each host, a [`ServerClock`].
//!
//! `history` keeps a few samples; `forecast` turns them into a distribution of the time left; `inspection` finds the
//! wait with the least cost, and `plan` puts it all together; `calibration` learns from jobs that ended; `server_clock`
//! finds the clock that the server's times refer to. `docs/schedule.md` has figures. All of it is pure: the same input gives the same schedule.

mod calibration;
mod forecast;
mod history;
mod inspection;
mod lifetime;
mod plan;
mod server_clock;
mod types;

pub use calibration::{Calibration, CalibrationUpdate, EstimateSource, KindCalibration};
pub use history::{History, SavedHistory};
pub use server_clock::ServerClock;
pub use types::{ForecastBasis, NextPoll, Observation, Policy, ScheduleSettings, WaitLimit};
