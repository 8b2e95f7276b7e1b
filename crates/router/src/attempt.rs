//! After a failure: does the call go to another node, or does it end? Pure.

use std::time::Duration;

use onrush_invoke::{InvokeError, Reached};
use onrush_types::{Code, Origin};

/// What the decision needs to know besides the error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    /// The function says that running a call twice is harmless.
    pub(crate) idempotent: bool,
    /// The request can be sent again: whole, or a stream that nobody has read from.
    pub(crate) replayable: bool,
    /// What is left of the deadline.
    pub(crate) remaining: Duration,
    /// With less than this left, no call moves.
    pub(crate) least_remaining: Duration,
    /// The call has moved already.
    pub(crate) moved: bool,
    /// Connections that failed under this call before.
    pub(crate) failed_connects: u32,
    /// How many may.
    pub(crate) connect_tries: u32,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Another node, as the same try: the connection failed, so nothing was tried at all.
    Redirect,
    /// Another node, as the second and last try, if the budget has one left.
    Move,
    /// The error is the answer.
    GiveUp,
}

/// Decides. Only proven non-execution moves a call, unless the function is idempotent (P4).
pub(crate) fn next_step(error: &InvokeError, now: Situation) -> NextStep {
    if !now.replayable || now.remaining < now.least_remaining || !error.may_move(now.idempotent) {
        return NextStep::GiveUp;
    }
    if connect_failed(error) {
        let tries_left = now.failed_connects + 1 < now.connect_tries;
        return if tries_left { NextStep::Redirect } else { NextStep::GiveUp };
    }
    if now.moved { NextStep::GiveUp } else { NextStep::Move }
}

/// Nobody was reached. A worker's own refusals always carry its load.
pub(crate) fn connect_failed(error: &InvokeError) -> bool {
    error.reached == Reached::NotSent && error.code == Code::Unavailable && error.load.is_none()
}

/// Whether the error speaks against the node rather than against the call or the function. A worker that answers, even
/// with a refusal, is well.
pub(crate) fn node_failed(error: &InvokeError) -> bool {
    let lost = matches!(error.code, Code::OutcomeUnknown | Code::Internal);
    connect_failed(error) || error.origin == Origin::Platform && error.load.is_none() && lost
}

#[cfg(test)]
mod tests {
    use onrush_invoke::LoadReport;

    use super::*;

    const CALM: Situation = Situation {
        idempotent: false,
        replayable: true,
        remaining: Duration::from_secs(1),
        least_remaining: Duration::from_millis(2),
        moved: false,
        failed_connects: 0,
        connect_tries: 3,
    };

    fn full() -> InvokeError {
        InvokeError::refused(Code::Overloaded, "full").with_load(LoadReport::default())
    }

    fn lost() -> InvokeError {
        InvokeError::interrupted(Code::OutcomeUnknown, "reset")
    }

    fn unreachable() -> InvokeError {
        InvokeError::refused(Code::Unavailable, "connection refused")
    }

    #[test]
    fn what_moves_and_what_does_not() {
        let idempotent = Situation { idempotent: true, ..CALM };
        let table = [
            ("a refusal moves", full(), CALM, NextStep::Move),
            ("once", full(), Situation { moved: true, ..CALM }, NextStep::GiveUp),
            ("not without its body", full(), Situation { replayable: false, ..CALM }, NextStep::GiveUp),
            ("not without time", full(), Situation { remaining: Duration::from_millis(1), ..CALM }, NextStep::GiveUp),
            ("what may have run stays", lost(), CALM, NextStep::GiveUp),
            ("unless that is harmless", lost(), idempotent, NextStep::Move),
            ("a failed connect is no try", unreachable(), CALM, NextStep::Redirect),
            ("even after a move", unreachable(), Situation { moved: true, ..CALM }, NextStep::Redirect),
            ("but not for ever", unreachable(), Situation { failed_connects: 2, ..CALM }, NextStep::GiveUp),
            ("a trap stays", InvokeError::function(Code::FunctionFailed, "trap"), idempotent, NextStep::GiveUp),
            ("the caller's limit stays", InvokeError::refused(Code::RateLimited, "slow"), idempotent, NextStep::GiveUp),
            ("time is up", InvokeError::deadline(Reached::NotSent, "late"), idempotent, NextStep::GiveUp),
        ];
        for (what, error, situation, expected) in table {
            assert_eq!(next_step(&error, situation), expected, "{what}");
        }
    }

    #[test]
    fn only_the_nodes_own_failures_speak_against_it() {
        assert!(node_failed(&unreachable()));
        assert!(node_failed(&lost()));
        assert!(!node_failed(&full()));
        assert!(!node_failed(&InvokeError::refused(Code::Unavailable, "draining").with_load(LoadReport::default())));
        assert!(!node_failed(&InvokeError::function(Code::FunctionFailed, "trap")));
        assert!(!node_failed(&InvokeError::deadline(Reached::MaybeRan, "late")));
    }

    proptest::proptest! {
        #[test]
        fn a_call_that_may_have_run_never_runs_twice_unless_it_is_idempotent(
            code in 0..Code::ALL.len(), function: bool, moved: bool, failed_connects in 0_u32..4, with_load: bool,
        ) {
            let mut error = InvokeError::interrupted(Code::ALL[code], "x");
            error.origin = if function { Origin::Function } else { Origin::Platform };
            error.load = with_load.then(LoadReport::default);
            let step = next_step(&error, Situation { moved, failed_connects, ..CALM });
            proptest::prop_assert_eq!(step, NextStep::GiveUp);
        }
    }
}
