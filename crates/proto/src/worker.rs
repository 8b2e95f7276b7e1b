//! Calls between nodes: a gRPC server over any [`Invoke`](onrush_invoke::Invoke), and a client that is one.
//!
//! Knows: how a call, its reply and its failure look on the wire, and what a broken connection proves.
//! Does not know: which node to call, whether to try another.
mod bodies;
mod remote;
mod serve;
mod sharing;
#[cfg(test)]
mod tests;
mod wire;

pub use self::{remote::RemoteNode, serve::WorkerService};

/// Bodies up to this size travel in one message with their head; larger ones, and those of unknown length, as streams.
pub const WHOLE_BODY_LIMIT: usize = 64 << 10;

/// Streamed bodies are cut into messages of at most this size, so that calls share a connection fairly.
const CHUNK_LIMIT: usize = 256 << 10;

/// All names and values of one head together. Gateways take less; this bounds what a peer can make a node decode.
const HEADERS_LIMIT: usize = 256 << 10;

/// No message is larger: a whole body or a chunk, with a head of full size and room for the URI.
const MESSAGE_LIMIT: usize = 1 << 20;
