//! The rules of forgewatch: what a response means, which events a job causes, when to poll it next.
//!
//! Nothing here reads a clock, a source of randomness, a file, a socket or the environment. Time and random numbers are
//! arguments, decisions are return values, and the engine carries them out. The same inputs always give the same outputs,
//! so a whole run can be replayed from its seed.
//!
//! The path of a poll:
//! - [`decode`] reads the bytes of a response and returns a [`status::Status`].
//! - [`verdict`] decides what a failed poll means.
//! - [`watch`] is the state machine of a job: it takes either result and returns the new watch with its [`event`]s.
//! - [`schedule`] chooses the time of the next poll after a status, [`retry`] after a failure.
//! - [`poll_log`] records the poll for people.
//! - [`rate_limiter`] decides how much the API is polled, [`circuit_breaker`] whether at all.
//!
//! The path of an event:
//! - [`event`] defines its type, fields and log record.
//! - [`delivery`] decides which hooks receive it, in what order, and how often.
//! - [`format`](mod@format) turns it into what the receiver of a webhook understands.
//!
//! Everything else:
//! - [`host`] reads the names and addresses of hosts.
//! - [`job`] names jobs, their states and the outcomes of a watch.
//! - [`measurements`] counts what forgewatch does, for operators.
//! - [`limits`] holds the settings of watches.
//! - [`reload_preview`] holds what a reload of the configuration changes.
//! - [`reconcile`] compares the jobs of the configuration file with the list that was last applied.
//! - [`wait`] decides what a client that waits for jobs of a daemon still waits for.
//! - [`sanitize`] neutralizes text of servers.
//! - [`user_input`] quotes, corrects and checks what users write.
//! - [`time`] and [`rng`] are small helpers.

#![deny(clippy::disallowed_methods)]
#![warn(missing_docs)]

pub mod circuit_breaker;
pub mod decode;
pub mod delivery;
pub mod event;
pub mod format;
pub mod host;
pub mod job;
pub mod limits;
pub mod measurements;
pub mod poll_log;
pub mod rate_limiter;
pub mod reconcile;
pub mod reload_preview;
pub mod retry;
pub mod rng;
pub mod sanitize;
pub mod schedule;
pub mod status;
pub mod time;
pub mod time_left;
pub mod user_input;
pub mod verdict;
pub mod wait;
pub mod watch;
