//! One log line instead of a thousand: what a stranger can cause must not fill the disk.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const PAUSE: Duration = Duration::from_secs(60);

/// Lets one log line per minute pass and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Quiet(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    held: u64,
}

impl Quiet {
    /// `Some` with the number of lines held back since the last one if a line may be written now.
    pub(crate) fn pass(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < PAUSE) {
            state.held += 1;
            return None;
        }
        state.last = Some(Instant::now());
        Some(std::mem::take(&mut state.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_minute_passes_and_counts_the_others() {
        let quiet = Quiet::default();
        assert_eq!(quiet.pass(), Some(0));
        assert_eq!((quiet.pass(), quiet.pass()), (None, None));
        tokio::time::advance(PAUSE).await;
        assert_eq!(quiet.pass(), Some(2));
    }
}
