//! Two of the three seams that the simulation replaces: the network (listen, connect, datagrams), and the wall clock
//! with randomness. (The third, the store of log and snapshots, is openraft's own pair of traits; time that passes is
//! tokio's, which tests pause.)
//!
//! Knows: sockets and the operating system's clock.
//! Does not know: any protocol.
mod clock;
mod net;

pub use self::{
    clock::{Entropy, OsEntropy, SystemClock, WallClock},
    net::{Connection, Datagrams, Listener, Network, Stream, TokioNetwork},
};
