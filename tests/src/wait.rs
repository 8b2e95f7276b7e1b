//! Waiting for conditions, with a limit.

use std::time::Duration;

use tokio::time::Instant;

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `condition` gives a value; panics with `what` and its last refusal after `limit`. Returns the value and
/// how long it took.
///
/// # Panics
/// When the time is over.
pub async fn until<T, F>(what: &str, limit: Duration, mut condition: F) -> (T, Duration)
where
    F: AsyncFnMut() -> Result<T, String>,
{
    let began = Instant::now();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = String::from("it was never looked at");
    while began.elapsed() < limit {
        ticks.tick().await;
        match tokio::time::timeout(limit.saturating_sub(began.elapsed()), condition()).await {
            Ok(Ok(value)) => return (value, began.elapsed()),
            Ok(Err(refusal)) => last = refusal,
            Err(_) => last = format!("{last}; the last look at it did not end"),
        }
    }
    panic!("waited {limit:?} for {what}: {last}");
}
