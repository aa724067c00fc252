//! The deterministic simulation: the real daemon on virtual time, with a simulated API, disk, clock, hooks and clients,
//! all of which fail.
//!
//! # A lifetime
//!
//! A *lifetime* is what one seed determines. In it, one to three daemon *processes* run one after another. Each starts from
//! the state on disk, receives commands of clients, and either shuts down or crashes at a random await. Meanwhile requests
//! fail, the disk is full, hooks hang, clocks jump, and shards of the jobs are lost and gained again. Then faults stop, and
//! a last process runs until every watch and delivery has ended. Everything that crosses the daemon's borders is in the
//! [`log::Log`], which the [`checker`] compares with its rules.
//!
//! Lifetimes are reproducible: one thread, paused tokio time (a lifetime of hours takes milliseconds), and one stream of
//! random numbers, drawn by all parts in turn. So the same code and seed give the same trace, and any change of behavior
//! or of a draw gives another one.
//!
//! # Running it
//!
//! ```console
//! $ cargo test --test simulation                                  # 10,000 lifetimes and the planted bugs
//! $ FORGEWATCH_SIM_LIFETIMES=300 cargo test --test simulation     # fewer lifetimes
//! $ FORGEWATCH_SIM_FIRST=10000 cargo test --test simulation       # other seeds: 10,000 to 19,999
//! $ FORGEWATCH_SIM_SEED=7 cargo test --test simulation replay -- --nocapture
//! ```
//!
//! # When a lifetime breaks a rule
//!
//! The batch names seed, rule, time and object, for example `seed 7: PublishedUncommitted at 470 ms: watch.started …`. The
//! comment of the rule in `checker/mod.rs` says what was expected. The last command above replays the seed and prints its
//! trace, one line per event, with virtual times:
//!
//! ```text
//!      0 ms  process 0 starts
//!      0 ms  active: jobs ["update/1"], hooks ["all"]          the configuration from now on
//!      0 ms  disk: write 0 Applied: job list …                 Applied, Failed or Lost
//!      0 ms  ready                                             end of the startup
//!      0 ms  api: poll of update/1
//!      1 ms  api: update/1: state Some(Queued), …              the response, or an error
//!     13 ms  disk: write 2 Applied: job.watching of update/1 8785…-1
//!     13 ms  published: job.watching 8785…-1                   printed by the daemon
//!     19 ms  hook: attempt 1 of 8785…-1/all, job.watching of update/1
//!     22 ms  fault: Crash                                      see `faults.rs`
//!     22 ms  process 0 ends: Crashed
//! ```
//!
//! Read it backwards from the time of the violation: what did the daemon know at that time, and what did the disk hold?
//! `RUST_BACKTRACE` and `dbg!` work as usual; reading the world's random numbers in a `dbg!` changes the lifetime.
//!
//! # Where things are
//!
//! | file | |
//! |---|---|
//! | `batch` | the tests: many lifetimes, replay, reproducibility |
//! | `lifetime` | one lifetime: starts, commands, crashes and the last process |
//! | `world` | shared by all parts: true time, random numbers, faults, trace, log |
//! | `api`, `jobs` | the API and its jobs |
//! | `disk` | a store that queues writes, fails, and survives crashes |
//! | `shards` | parts of the jobs that another process takes over for a while |
//! | `clock`, `crash` | clocks that jump; the crash at an await |
//! | `hooks`, `commands`, `follower`, `config` | receivers of events, clients, and the configuration file |
//! | `faults` | the table of all faults |
//! | `log`, `checker` | what happened, and the rules for it |
//! | `planted_bugs` | bugs around the daemon that the checker must find |
//! | `outage` | a separate test: the request rate in a long outage |
//!
//! A new fault is an entry in `faults` that some part draws with [`world::World::occurs`]; the batch fails if it never
//! occurs. A new rule is an entry in [`checker::Rule`] and a check, best with a planted bug that breaks it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod api;
mod batch;
mod checker;
mod clock;
mod commands;
mod config;
mod crash;
mod disk;
mod faults;
mod follower;
mod hooks;
mod jobs;
mod lifetime;
mod log;
mod outage;
mod planted_bugs;
mod rng;
mod shards;
#[path = "../support/strict_schema.rs"]
mod strict_schema;
mod world;
