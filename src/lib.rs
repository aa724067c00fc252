//! forgewatch waits for the jobs that Clanforge runs and reports every state transition.
//!
//! A pure core decides, a shell acts. This page is the map and the glossary; `docs/code-structure.md` describes threads,
//! tasks and the path of a poll, with file names.
//!
//! # Map
//!
//! | part | does |
//! |---|---|
//! | [`forgewatch_core`] | decides: what a response means, what happens to a job, when to poll next, which events and deliveries follow; a crate of its own, without clock, randomness, files or network |
//! | [`cli`] | reads the command line; the clients of a daemon |
//! | [`app`] | the two applications: the one-shot and the daemon's process, with signals, output, startup and shutdown |
//! | [`config`] | merges command line, environment and file into settings |
//! | [`daemon`] | engine, hooks and store as one, without sockets and processes; `tests/simulation` runs it |
//! | [`engine`] | polls jobs when they are due and applies the core's decisions |
//! | [`hooks`] | delivers events to programs and webhooks |
//! | [`clanforge`] | the HTTP client of the status endpoints |
//! | [`http_client`] | the HTTP client, headers and error classes, shared by the API client and webhooks |
//! | [`store`] | keeps watches, events and deliveries: in SQLite, in memory, or nowhere |
//! | [`control`] | the control socket: wire types, server and client |
//! | [`http_api`] | the HTTP API, beside the control socket |
//! | [`report`] | prints events and diagnostics for people and machines |
//! | [`metrics`] | writes what is measured, in the text formats of Prometheus and `OpenMetrics` |
//! | [`os`] | signals and the service manager |
//! | [`forgewatch_sim`] | simulates the Clanforge endpoints for tests, `demo` and `simulate`; a crate of its own |
//!
//! Imports run one way, and `tests/imports.rs` checks it: `main` → `cli` → `app` → {`daemon`, `report`, `control`,
//! `http_api`, `metrics`, `os`, `config`} → {`engine`, `hooks`} → {`clanforge`, `store`, `http_client`} → core.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | job | an image update, image diff or image version on Clanforge, such as `diff/1234` |
//! | watch | the record of following one job, from its start to one ending event |
//! | poll | one status request with its result |
//! | status | what a response says about a job, decoded and normalized |
//! | transition | a change of a job's state or of what is known about it |
//! | event | the one record of a transition, with an ID that never changes |
//! | emit, record, publish | the core emits an event, the store records it, reports publish it |
//! | commit | what the store takes whole or not at all |
//! | shard | a part of all jobs, served by one process at a time; a state file is served whole |
//! | handover | the store says which shards the process has gained or lost |
//! | hook | a configured receiver of events: a program or a webhook |
//! | delivery | one event for one hook: `pending`, `running`, `delivered`, `failed` or `discarded` |
//! | attempt | one try at a delivery |
//! | lane | the deliveries of one watch to one hook, in order |
//! | payload | what a hook receives: the event as a CloudEvents object |
//! | outbox | the rule that an event and its deliveries are committed together |
//! | ETA | when the server predicts the end |
//! | estimate | when forgewatch predicts the end |
//! | schedule | when to poll next: [`forgewatch_core::schedule`] |
//! | forecast | the probability distribution of the time left |
//! | inspection | the choice of the next poll by its cost, after the literature on inspection policies |
//! | calibration | what earlier jobs taught about the errors of estimates |
//! | history, sample, observation | what a watch keeps of earlier polls, one entry of it, one fresh status |
//! | rate limiter | limits how often the API is polled |
//! | circuit breaker, probe | stops all polls while the API is down, except one probe at a time |
//! | watch table, timer queue | the engine's places for watches and deadlines |
//! | one-shot, daemon | `watch --until-done`; `watch` without it |
//! | client | a command that talks to a daemon |
//! | failed, unreachable, refused | the job failed; the job cannot be polled; the API answered 401 or 403 |

pub mod app;
pub mod clanforge;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod engine;
pub mod hooks;
pub mod http_api;
pub mod http_client;
pub mod metrics;
pub mod os;
pub mod report;
pub mod store;
