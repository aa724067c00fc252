//! The control socket: how people and their scripts speak to a running daemon.
//!
//! [`protocol`] has the words. One request a connection: a line of JSON goes in, lines of JSON come out.

pub mod protocol;
