//! Commands, outcomes and snapshots.
