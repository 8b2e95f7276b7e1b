//! The threads that run guests: their own runtime, below everything else in the system's eyes, so that a burst of
//! computing functions never delays a socket, gossip or Raft.

use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime for guests; ends in the background when it is dropped.
pub(crate) struct GuestThreads(Option<Runtime>);

impl GuestThreads {
    /// Starts `threads` of them, 0 means one for each core, which give way to others by `niceness`.
    pub(crate) fn start(threads: usize, niceness: u8) -> anyhow::Result<Self> {
        let niceness = i32::from(niceness.min(19));
        let threads = if threads == 0 { available_parallelism().map_or(1, usize::from) } else { threads };
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("guest")
            // The worker's queue decides who is next, not the scheduler's: a call that has its turn, or is new, is looked
            // at before the next guest goes on. With the usual interval (every 31st task) a call of a quiet tenant waited
            // for 31 calls of a flood before it was even polled.
            .global_queue_interval(1)
            .disable_lifo_slot()
            .on_thread_start(move || {
                // Linux keeps niceness per thread; where it is refused, guests compete as equals.
                let _refused = rustix::process::setpriority_process(None, niceness).is_err();
            })
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// What spawns on them.
    pub(crate) fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        // A runtime must not be dropped in the usual way inside another one: it would block.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn guests_run_on_threads_of_their_own_that_give_way() {
        let guests = GuestThreads::start(2, 7).unwrap();
        let niceness = guests.handle().spawn(async { rustix::process::getpriority_process(None) }).await.unwrap();
        assert_eq!(niceness.unwrap(), 7);
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), 0, "the others stay as they are");
    }
}
