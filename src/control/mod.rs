//! The control socket: the API of a running daemon on this machine.
//!
//! [`protocol`] has the requests and responses, each a line of JSON. [`server`] is the daemon's end, [`client`] the end
//! that the commands in `cli/client` use.
//!
//! Parts of the server: `listener` creates the socket with its permissions, `peer_auth` authorizes clients,
//! `connection` serves one client, [`codec`] decodes its request, [`event_stream`] reads events for it.

pub mod client;
pub mod codec;
mod connection;
pub mod event_stream;
mod listener;
mod peer_auth;
pub mod protocol;
pub mod server;
