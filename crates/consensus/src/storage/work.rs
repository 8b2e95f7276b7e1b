//! Where work runs that may wait for a disk.
//!
//! Log and catalog have a thread of their own each: guest code that fills tokio's blocking pool cannot delay a vote.
//! A thread ends by itself when the store that owns it is dropped.

use std::{io, thread};

use tokio::sync::{mpsc, oneshot};

use super::error::Fault;

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that may wait in front of a thread. openraft awaits each one, so there are hardly ever two.
const WAITING: usize = 16;

/// Who does the work.
#[derive(Debug, Clone)]
pub(crate) enum Worker {
    /// The caller itself: memory needs nobody else, and a simulation wants no threads.
    #[cfg_attr(not(any(test, feature = "test-util")), allow(dead_code, reason = "only memory works inline"))]
    Caller,
    /// One thread, one job after the other.
    Thread(mpsc::Sender<Job>),
    /// Any thread, several jobs at once.
    Pool,
}

impl Worker {
    #[cfg_attr(not(feature = "rocksdb"), allow(dead_code, reason = "only a disk needs threads"))]
    pub(crate) fn thread(name: &str) -> io::Result<Self> {
        let (sender, mut jobs) = mpsc::channel::<Job>(WAITING);
        let work = move || {
            while let Some(job) = jobs.blocking_recv() {
                job();
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self::Thread(sender))
    }

    /// Runs a job. Dropping the future does not stop it; on a thread it still runs before any later one.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let gone = || Fault::Io(io::Error::other("the thread that writes is gone; see the log for its panic"));
        match self {
            Self::Caller => job(),
            Self::Thread(sender) => {
                let (done, result) = oneshot::channel();
                // The job is consumed, with the disk it holds, before anybody hears that it is done.
                let job = move || drop(done.send(job()));
                sender.send(Box::new(job)).await.map_err(|_| gone())?;
                result.await.map_err(|_| gone())?
            }
            Self::Pool => tokio::task::spawn_blocking(job).await.map_err(|_| gone())?,
        }
    }
}
