//! The control socket: how people and their scripts speak to a running daemon.
//!
//! [`protocol`] has the words: a line of JSON goes in, lines of JSON come out. [`server`] is the daemon's end,
//! [`client`] the other, which the commands in `cli/client` hold.
//!
//! Within the daemon's end, `place` is the socket in the file system, closed to others from its first instant; `peer`
//! says who may speak; `connection` is one client from its first byte to its last; [`codec`] makes requests of bytes.

pub mod client;
pub mod codec;
mod connection;
mod listener;
mod peer_auth;
pub mod protocol;
pub mod server;
