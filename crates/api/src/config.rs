//! What an operator may tune.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Largest artifact that is taken in, in bytes.
    pub max_artifact: u64,
    /// Largest JSON document that is read, in bytes.
    pub max_json: usize,
    /// Largest body of a call or of its reply, where it is buffered, in bytes.
    pub max_call_body: usize,
    /// Artifacts on their way in at once; one more is refused as overloaded.
    pub max_uploads: usize,
    /// Deploys, removals and other changes at once; one more is refused as overloaded.
    pub max_changes: usize,
    /// Log requests answered at once, followers included; one more is refused as overloaded.
    pub max_log_readers: usize,
    /// Old log lines per node that one request may ask for.
    pub max_log_tail: u32,
    /// How long an upload may stand still before it is given up.
    #[serde(with = "humantime_serde")]
    pub upload_idle: Duration,
    /// How long a write may wait for the cluster's agreement.
    #[serde(with = "humantime_serde")]
    pub commit_timeout: Duration,
    /// How long a fresh read may wait for the cluster's confirmation.
    #[serde(with = "humantime_serde")]
    pub fresh_timeout: Duration,
    /// How long pulling, checking and compiling an artifact may take.
    #[serde(with = "humantime_serde")]
    pub prepare_timeout: Duration,
    /// How long copying an artifact to a majority of the voters may take.
    #[serde(with = "humantime_serde")]
    pub secure_timeout: Duration,
    /// How long a deploy waits for the live nodes to apply it before it names those that have not.
    #[serde(with = "humantime_serde")]
    pub spread_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_artifact: 64 << 20,
            max_json: 1 << 20,
            max_call_body: 6 << 20,
            max_uploads: 16,
            max_changes: 64,
            max_log_readers: 256,
            max_log_tail: 10_000,
            upload_idle: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(10),
            fresh_timeout: Duration::from_secs(5),
            prepare_timeout: Duration::from_secs(300),
            secure_timeout: Duration::from_secs(30),
            spread_timeout: Duration::from_secs(2),
        }
    }
}
