//! forgewatch waits for the jobs that Clanforge runs and tells of every step on the way.
//!
//! A pure core decides, a shell acts. This page is the map; the law is [`forgewatch_core::watch`].
//!
//! `forgewatch_core` holds what an answer means ([`forgewatch_core::decode`]), what happens to a job ([`forgewatch_core::watch`]), when to ask
//! next ([`forgewatch_core::schedule`]) and what is told ([`forgewatch_core::event`]). It knows no clock, no dice, no files, no network
//! and no environment: time and chance are arguments.
//!
//! [`engine`] is the loop around it: one timer queue, the limits on how often and how much may be asked, one pause
//! for all when the API is down. It asks through [`clanforge`], the HTTP client, which pushes answers chunk by
//! chunk into the decoder. It gives every step to a [`store`] before anybody can see it, and hands over the events
//! that are safe to tell.
//!
//! [`hooks`] runs what the user wants done. Everybody commits through its outbox, which adds to each event the
//! deliveries that hooks are owed: both are on the disk, or neither.
//!
//! [`daemon`] is engine, hooks and store as one, for a watch that goes on for months. It knows no sockets and no
//! processes, so that `tests/simulation` can run it in a world that fails in every way there is.
//!
//! [`cli`] owns an engine, or a daemon: it reads the command line and, through [`config`], environment and file; it
//! selects over it, deadlines, signals and the service manager ([`os`]); it gives events to [`report`], which prints
//! them for people and machines, and turns the ends of the jobs into an exit status.
//!
//! [`control`] is the Unix socket through which people speak to a daemon: the words, the daemon's end, and the end
//! that the client commands of [`cli`] hold.
//!
//! [`forgewatch_sim`] stands in for the Clanforge endpoints: tests, `demo` and `simulate` use it. It knows `forgewatch_core` alone.
//!
//! A poll's walk, then: a timer falls due in [`engine`]; [`clanforge`] asks; [`forgewatch_core::decode`] reads;
//! [`forgewatch_core::watch::Watch::step`] decides; [`store`] commits; [`report`] prints, [`hooks`] deliver.

pub mod app;
pub mod clanforge;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod engine;
pub mod hooks;
pub mod http_client;
pub mod os;
pub mod report;
pub mod store;
