//! The law: what an answer means, what happens to a job, when to ask next.
//!
//! Nothing here reads a clock, throws dice, opens a file or a socket, or looks at the environment. Time and
//! chance come in as arguments, decisions go out as values, and the engine acts on them. The same
//! inputs always give the same outputs, so a whole watch can be replayed from its seed.
//!
//! [`decode`] turns the bytes of an answer into a [`status::Status`]; [`verdict`] says what a failed request
//! means; [`watch`] moves one job a step onward and says which [`event`]s that makes; [`schedule`] says when to
//! ask again. [`delivery`] is an event on its way to a hook; [`reconcile`] says what a list of jobs in a file changes;
//! [`poll_log`] is what people are shown of a request.

#![deny(clippy::disallowed_methods)]
#![warn(missing_docs)]

pub mod cloud_event;
pub mod decode;
pub mod delivery;
pub mod event;
pub mod job;
pub mod label;
pub mod limits;
pub mod poll_log;
pub mod quote;
pub mod reconcile;
pub mod retry;
pub mod rng;
pub mod schedule;
pub mod status;
pub mod suggest;
pub mod throttle;
pub mod time;
pub mod verdict;
pub mod watch;
