//! What can be set, and what must hold between the settings.

use std::{ops::Range, time::Duration};

use bytesize::ByteSize;
use onrush_types::NodeId;
use serde::{Deserialize, Serialize};

use crate::storage;

/// How many slices the election timeouts are cut into: nodes with different slices do not stand for election together.
const SLICES: u64 = 8;

/// Settings of the agreement. Raise the timeouts where disks are slow: Raft waits for each fsync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// How often a leader lets its followers hear from it.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// The shortest silence after which a follower stands for election (it waits for its lease in addition).
    #[serde(with = "humantime_serde")]
    pub election_min: Duration,
    /// The longest such silence. Each node has its own slice between the two.
    #[serde(with = "humantime_serde")]
    pub election_max: Duration,
    /// How long sending and installing a snapshot may take.
    #[serde(with = "humantime_serde")]
    pub install_snapshot_timeout: Duration,
    /// A snapshot is made after so many entries.
    pub snapshot_every: u64,
    /// So many entries are kept behind the snapshot, for followers that are a little late.
    pub keep_behind_snapshot: u64,
    /// A follower that lacks more entries than this gets a snapshot. Must be above `snapshot-every`.
    pub lag_threshold: u64,
    /// Entries that one request to a follower carries at most.
    pub max_payload_entries: u64,
    /// Bytes that one message between nodes has at most; an entry is never larger than half of it.
    pub largest_message: ByteSize,

    /// Bytes that one proposal has at most.
    pub largest_proposal: ByteSize,
    /// Proposals that wait at most; more are refused as overloaded.
    pub queue: usize,
    /// Bytes of proposals that wait or are under way at most; more are refused as overloaded.
    pub queue_bytes: ByteSize,
    /// Proposals that share one entry at most.
    pub batch: usize,
    /// Bytes of proposals that share one entry at most.
    pub batch_bytes: ByteSize,
    /// Entries of this node's that are under way at once.
    pub batches_in_flight: usize,
    /// Fresh reads that wait at once; more are refused as overloaded.
    pub reads_in_flight: usize,
    /// However long a caller would wait: a write or a fresh read ends after this.
    #[serde(with = "humantime_serde")]
    pub longest_wait: Duration,
    /// How long the leader may take to answer a forwarded request before another attempt is made.
    #[serde(with = "humantime_serde")]
    pub forward_timeout: Duration,
    /// The first pause between two attempts; it doubles up to eight times this.
    #[serde(with = "humantime_serde")]
    pub retry_pause: Duration,

    /// A voter that is dead for so long is replaced.
    #[serde(with = "humantime_serde")]
    pub voter_dead_after: Duration,
    /// A learner that lacks no more entries than this may become a voter.
    pub caught_up_lag: u64,
    /// How often the leader looks whether the members are as they should be.
    #[serde(with = "humantime_serde")]
    pub membership_interval: Duration,

    /// How long a seed may take to answer.
    #[serde(with = "humantime_serde")]
    pub seed_timeout: Duration,
    /// The pause between two rounds of asking the seeds.
    #[serde(with = "humantime_serde")]
    pub seed_interval: Duration,
    /// How often a node says which seeds it waits for.
    #[serde(with = "humantime_serde")]
    pub seed_reminder: Duration,
    /// How long the admission to a cluster may take before it is asked for again.
    #[serde(with = "humantime_serde")]
    pub admit_timeout: Duration,

    /// Settings of the log's and the catalog's storage.
    pub storage: storage::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(400),
            election_max: Duration::from_millis(800),
            install_snapshot_timeout: Duration::from_secs(30),
            snapshot_every: 1_000,
            keep_behind_snapshot: 1_000,
            lag_threshold: 5_000,
            max_payload_entries: 64,
            // Raft gives each append one heartbeat: what does not cross the network in that time is sent for ever.
            largest_message: ByteSize::mib(1),
            largest_proposal: ByteSize::kib(256),
            queue: 4_096,
            queue_bytes: ByteSize::mib(64),
            batch: 128,
            batch_bytes: ByteSize::kib(512),
            batches_in_flight: 4,
            reads_in_flight: 1_024,
            longest_wait: Duration::from_secs(9),
            forward_timeout: Duration::from_secs(2),
            retry_pause: Duration::from_millis(25),
            voter_dead_after: Duration::from_mins(5),
            caught_up_lag: 100,
            membership_interval: Duration::from_millis(250),
            seed_timeout: Duration::from_secs(1),
            seed_interval: Duration::from_millis(300),
            seed_reminder: Duration::from_secs(5),
            admit_timeout: Duration::from_secs(10),
            storage: storage::Config::default(),
        }
    }
}

impl Config {
    /// Everything that is wrong with these settings, for people.
    pub fn problems(&self) -> Vec<String> {
        let slice = (self.election_max.saturating_sub(self.election_min)).as_millis() / u128::from(SLICES);
        let rules = [
            (self.heartbeat.as_millis() >= 10, "heartbeat: must be at least 10ms"),
            (self.heartbeat * 3 <= self.election_min, "election-min: must be at least three heartbeats"),
            (slice >= 1, "election-max: must be at least 8ms above election-min"),
            (self.snapshot_every > 0, "snapshot-every: must be above 0"),
            (self.lag_threshold > self.snapshot_every, "lag-threshold: must be above snapshot-every"),
            (self.max_payload_entries > 0, "max-payload-entries: must be above 0"),
            (self.largest_proposal <= self.batch_bytes, "batch-bytes: must not be below largest-proposal"),
            (self.batch_bytes.0 <= self.largest_message.0 / 2, "largest-message: must be at least twice batch-bytes"),
            (self.batch_bytes <= self.queue_bytes, "queue-bytes: must not be below batch-bytes"),
            (self.queue_bytes.0 <= u64::from(u32::MAX >> 3), "queue-bytes: must be below 512MiB"),
            (self.queue > 0 && self.batch > 0, "queue, batch: must be above 0"),
            (self.batches_in_flight > 0, "batches-in-flight: must be above 0"),
            (self.reads_in_flight > 0, "reads-in-flight: must be above 0"),
            (self.longest_wait < Duration::from_secs(10), "longest-wait: must be below 10s"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, problem)| problem.to_owned()).collect()
    }

    /// A node's own slice of the election timeouts, in milliseconds: the library draws once per process, and two equal
    /// draws would collide in every election.
    pub(crate) fn election_slice(&self, node: NodeId) -> Range<u64> {
        let (min, max) = (millis(self.election_min), millis(self.election_max));
        let width = (max.saturating_sub(min) / SLICES).max(1);
        let start = min + node.0 % SLICES * width;
        start..start + width
    }

    /// How long a leader may be without word from a quorum before it takes no more writes.
    pub(crate) fn quorum_silence(&self) -> Duration {
        self.election_max
    }

    /// How long a follower may be without word from a leader before it counts as cut off.
    pub(crate) fn leader_silence(&self) -> Duration {
        self.election_max * 2
    }

    /// The library's own form of these settings.
    pub(crate) fn raft(&self, node: NodeId) -> openraft::Config {
        let election = self.election_slice(node);
        openraft::Config {
            cluster_name: "onrush".to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: election.start,
            election_timeout_max: election.end,
            install_snapshot_timeout: millis(self.install_snapshot_timeout),
            max_payload_entries: self.max_payload_entries,
            replication_lag_threshold: self.lag_threshold,
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.keep_behind_snapshot,
            ..openraft::Config::default()
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_their_own_rules_and_satisfy_the_library() {
        let config = Config::default();
        assert_eq!(config.problems(), Vec::<String>::new());
        for node in 1..20 {
            config.raft(NodeId(node)).validate().unwrap();
        }
    }

    #[test]
    fn neighbours_have_slices_of_their_own_within_the_range() {
        let config = Config::default();
        let slices: Vec<_> = (1..=8).map(|node| config.election_slice(NodeId(node))).collect();
        for (i, one) in slices.iter().enumerate() {
            assert!(one.start >= 400 && one.end <= 800, "{one:?}");
            for other in &slices[i + 1..] {
                assert!(one.end <= other.start || other.end <= one.start, "{one:?} and {other:?} overlap");
            }
        }
    }

    #[test]
    fn each_broken_rule_is_named() {
        let broken = Config { lag_threshold: 1_000, election_min: Duration::from_millis(200), ..Config::default() };
        let problems = broken.problems().join("\n");
        assert!(problems.contains("lag-threshold") && problems.contains("election-min"), "{problems}");
    }
}
