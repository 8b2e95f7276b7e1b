//! A call on its way.

use onrush_types::{FunctionName, InvocationId, Revision, VersionNumber};

use crate::{Body, Deadline, Sharing};

/// What is called: an alias or `latest` is already resolved to a version, at the edge, once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Which function.
    pub function: FunctionName,
    /// Which version of it.
    pub version: VersionNumber,
    /// The revision of the catalog that says so; a worker that is older waits shortly, then refuses `behind`.
    pub revision: Revision,
}

/// One call.
#[derive(Debug)]
pub struct Invocation {
    /// Names the call in replies, logs and traces.
    pub id: InvocationId,
    /// What is called.
    pub target: Target,
    /// When it must be over.
    pub deadline: Deadline,
    /// 1 for the first try; a worker refuses a second one only at its hard limit.
    pub attempt: u8,
    /// What it may share with others that ask for the same; none for a call of its own.
    pub sharing: Option<Box<Sharing>>,
    /// What the function sees. The URI is in origin form behind `http://authority`: scheme and authority are set.
    pub request: http::Request<Body>,
}
