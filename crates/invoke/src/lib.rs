//! One call, from request to reply.
//!
//! Knows: what a call carries, how long it may take, how it can fail and what that says about a retry.
//! Does not know: where it runs, how it gets there, what runs it.
mod body;
mod deadline;
mod error;
#[cfg(feature = "test-util")]
pub mod fake;
mod invocation;
mod reply;
mod sharing;

use std::pin::Pin;

use async_trait::async_trait;

pub use self::{
    body::{Body, BodyError, GuardedBody},
    deadline::{Deadline, Passed},
    error::{InvokeError, Reached},
    invocation::{Invocation, Target},
    reply::{LoadReport, Reply},
    sharing::{Caching, Coalesce, Scope, Sharing, SharingKey},
};

/// Carries one call to its reply. Every hop of the data path is one of these: the worker on this node, another node,
/// the router that chooses between them.
///
/// Dropping the future, or the reply's body before its end, cancels the call: what it held is given back at once.
#[async_trait]
pub trait Invoke: Send + Sync {
    /// Runs the call. The reply's head comes back as soon as it is known; its body streams.
    ///
    /// # Errors
    /// [`InvokeError`] says who failed and whether the call can have run.
    async fn invoke(&self, call: Invocation) -> Result<Reply, InvokeError>;
}

/// Asks a worker on another node how busy it is, without a call.
#[async_trait]
pub trait Ask: Send + Sync {
    /// Its load now.
    ///
    /// # Errors
    /// [`InvokeError`] where it cannot be reached or does not answer.
    async fn load(&self) -> Result<LoadReport, InvokeError>;
}

/// Reads a worker's load on this node.
pub type LoadNow = std::sync::Arc<dyn Fn() -> LoadReport + Send + Sync>;

impl<T: Invoke + ?Sized> Invoke for std::sync::Arc<T> {
    // As `async_trait` would write it, without a box of its own around the inner one's: every call passes here.
    fn invoke<'a, 'b>(
        &'a self,
        call: Invocation,
    ) -> Pin<Box<dyn Future<Output = Result<Reply, InvokeError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        (**self).invoke(call)
    }
}
