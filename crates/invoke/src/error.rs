//! How a call fails: who failed, and how far it got. The two decide blame and retry.

use std::{fmt, time::Duration};

use onrush_types::{Code, Origin};

use crate::{BodyError, LoadReport};

/// How far a call got before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reached {
    /// It is proven that no guest code ran: connect failed, still queued, or a typed refusal.
    NotSent,
    /// It may have run, wholly or in part.
    MaybeRan,
}

/// A call that has no reply.
#[derive(Debug, Clone)]
pub struct InvokeError {
    /// What went wrong.
    pub code: Code,
    /// Who failed.
    pub origin: Origin,
    /// How far the call got.
    pub reached: Reached,
    /// When the caller may come again.
    pub retry_after: Option<Duration>,
    /// The load of the worker that refused, if it was one.
    pub load: Option<LoadReport>,
    message: String,
}

impl InvokeError {
    /// The platform failed or refused before anything ran.
    pub fn refused(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            origin: Origin::Platform,
            reached: Reached::NotSent,
            retry_after: None,
            load: None,
            message: message.into(),
        }
    }

    /// The platform failed after the call may have run.
    pub fn interrupted(code: Code, message: impl Into<String>) -> Self {
        Self { reached: Reached::MaybeRan, ..Self::refused(code, message) }
    }

    /// The function's own code failed.
    pub fn function(code: Code, message: impl Into<String>) -> Self {
        Self { origin: Origin::Function, ..Self::interrupted(code, message) }
    }

    /// The call's deadline passed.
    pub fn deadline(reached: Reached, message: impl Into<String>) -> Self {
        Self { reached, ..Self::refused(Code::DeadlineExceeded, message) }
    }

    /// Adds when to come again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds the load of the worker that answered.
    #[must_use]
    pub fn with_load(mut self, load: LoadReport) -> Self {
        self.load = Some(load);
        self
    }

    /// For people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the platform may give the call to another node. A caller's own limit is never moved elsewhere, and
    /// neither is a call that every node would judge alike.
    pub fn may_move(&self, idempotent: bool) -> bool {
        let elsewhere = matches!(
            self.code,
            Code::Overloaded | Code::Unavailable | Code::Behind | Code::OutcomeUnknown | Code::Internal
        );
        elsewhere && self.origin == Origin::Platform && (self.reached == Reached::NotSent || idempotent)
    }

    /// Whether nobody can say if the call ran: clients are told `outcome: unknown`.
    pub fn outcome_unknown(&self) -> bool {
        self.origin == Origin::Platform && self.reached == Reached::MaybeRan
    }
}

impl fmt::Display for InvokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for InvokeError {}

impl From<BodyError> for InvokeError {
    fn from(error: BodyError) -> Self {
        Self::interrupted(error.code, error.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proven_non_execution_moves_a_call_unless_it_is_idempotent() {
        let refused = InvokeError::refused(Code::Overloaded, "full");
        assert!(refused.may_move(false));
        let lost = InvokeError::interrupted(Code::OutcomeUnknown, "connection reset");
        assert!(!lost.may_move(false));
        assert!(lost.may_move(true));
        assert!(lost.outcome_unknown());
    }

    #[test]
    fn a_callers_own_fault_and_a_functions_failure_stay_where_they_are() {
        assert!(!InvokeError::refused(Code::RateLimited, "slow down").may_move(true));
        assert!(!InvokeError::refused(Code::TooLarge, "6 MiB").may_move(true));
        assert!(!InvokeError::function(Code::FunctionFailed, "trap").may_move(true));
    }
}
