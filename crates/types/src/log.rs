//! A line that a function wrote.

use serde::{Deserialize, Serialize};

use crate::{FunctionName, InvocationId, VersionNumber};

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// The function's standard output.
    Stdout,
    /// The function's standard error.
    Stderr,
    /// What the platform says about the function: traps, refused limits.
    Platform,
}

/// One line of a function's log, as a node keeps it in a bounded ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Milliseconds since the epoch by the node's clock.
    pub at_ms: u64,
    /// The node that ran it, by name.
    pub node: String,
    /// Which function.
    pub function: FunctionName,
    /// Which version of it.
    pub version: VersionNumber,
    /// During which call, where that is known.
    pub invocation: Option<InvocationId>,
    /// Where the line came from.
    pub stream: LogStream,
    /// The text without its line end; cut at the ring's line limit.
    pub text: String,
}
