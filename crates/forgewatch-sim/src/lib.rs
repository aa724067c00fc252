//! A simulator of the Clanforge status endpoints, driven by a script.
//!
//! It serves the tests, `forgewatch simulate` (to try hooks and pipelines) and `forgewatch demo`. To be able to break a
//! response at any byte, it implements HTTP/1.1 on plain TCP itself. It is meant for the loopback and well-behaved
//! clients. The manual is `docs/simulator.md`.
//!
//! A [`Script`] defines jobs and faults. [`Server`] serves it on its own thread, [`serve`] inside the caller's runtime.
//! The way of one request:
//!
//! 1. `http` reads it.
//! 2. `responder` finds its job and its faults. `job_model` computes the true state of the job at this time and the
//!    ETA that the server reports, `status_json` writes both as the vendor does, and `body` generates large bodies in chunks.
//! 3. `fault_effects` replaces the response or changes its transport, as the script's faults require.
//! 4. `transport` sends it.
//!
//! The same script gives the same responses to the same requests at the same times: all random numbers derive from its
//! seed.

mod body;
mod fault_effects;
mod http;
mod job_model;
mod responder;
mod script;
mod server;
mod status_json;
mod transport;

pub use http::LoggedRequest;
pub use script::{Script, ScriptError};
pub use server::{Server, serve};
