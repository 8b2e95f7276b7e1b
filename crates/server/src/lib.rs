//! The accept loop that the gateway, the API and the peer port share: HTTP/1.1 and HTTP/2 on one port.
//!
//! Knows: connections, how many there may be, how long each may dawdle, how they are drained and cut.
//! Does not know: what is served.
//!
//! Why it is our own: `docs/adr/0006-own-accept-loop.md`.
mod activity; // what a connection is doing, and when that has taken too long
mod bind; // addresses -> listeners
mod config;
mod connection; // one connection from its first byte to its last
mod files; // how many the process may open
mod io; // the socket, seen by `activity`
mod per_ip; // connections of one address
mod room; // who goes when all places are taken
mod serve; // accept, drain, force
mod service; // requests in flight, seen by `activity`; tower services
mod waiting; // bytes of replies that wait for the peer, seen by `activity`

pub use self::{
    bind::{Accept, BindError},
    config::Config,
    files::{open_files, raise_open_files},
    serve::{BoundServer, Server, Summary},
    service::{Peer, tower},
};
