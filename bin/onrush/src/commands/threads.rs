//! The threads that serve sockets, and that quick functions compute on.

use std::{io, thread::available_parallelism};

use tokio::runtime::{Builder, Runtime};

/// A runtime of so many threads; 0 means one for each core.
pub(super) fn io_threads(threads: usize) -> io::Result<Runtime> {
    let threads = if threads == 0 { available_parallelism().map_or(1, usize::from) } else { threads };
    Builder::new_multi_thread()
        .worker_threads(threads)
        // A task that is woken takes its place behind those that are ready. Ahead of them, each reply would be written
        // as soon as its guest is done, and each would wake its client by itself: with many connections that costs more
        // than anything of ours. Behind them, replies are written in a row.
        .disable_lifo_slot()
        .thread_name("io")
        .enable_all()
        .build()
}
