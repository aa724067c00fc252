//! A stand-in for the Clanforge status endpoints, driven by a script.
//!
//! Three use it: the tests, people who try their hooks and pipelines (`forgewatch simulate`), and the first run
//! of a newcomer (`forgewatch demo`). It must be able to break an answer at any byte, so it speaks HTTP/1.1 on
//! plain TCP itself, on the loopback, for clients that mean well. The manual is `docs/simulator.md`.
//!
//! [`Script`] says what the jobs do and which requests go wrong; it is checked whole when it is read. [`Server`]
//! plays it on a thread of its own, [`serve`] inside the caller's runtime. Within, `life` knows where a job
//! truly stands at a time, `eta` how its server errs about the end, `answer` writes that down as the vendor
//! does, `body` makes large bodies piece by piece, `http` reads requests, `wire` sends responses as badly
//! as the script wants, `mishap` is what faults do to them, and `play` joins script, clock and requests.
//!
//! The same script gives the same answers to the same requests at the same times: all chance comes from its seed.

mod answer;
mod body;
mod eta;
mod fault;
mod faults;
mod http;
mod job_model;
mod job_text;
mod responder;
mod rng;
mod script;
mod server;
mod values;
mod wire;

pub use responder::RequestLog;
pub use script::{Script, ScriptError};
pub use server::{Server, serve};
