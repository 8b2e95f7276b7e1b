//! Why a call does not run, in words that say what to do.

use std::time::Duration;

use onrush_invoke::{InvokeError, Reached};
use onrush_types::Code;

use crate::{
    estimate::retry_after,
    queue::{Dropped, Refusal},
};

/// Why a call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Nothing new is taken.
    Draining,
    /// This node has no share of the function's cap.
    NoShare,
    /// Too many calls wait.
    Calls,
    /// Too many bytes wait.
    Bytes,
    /// It would wait for longer than it has.
    TooLate,
    /// More calls of the function come than are served.
    Overload,
    /// Its place in the queue was taken by a namespace that had less than its share.
    Displaced,
    /// Its deadline passed while it waited.
    Late,
    /// The node's memory is short.
    Memory,
}

impl Why {
    pub(crate) const ALL: [Self; 9] = [
        Self::Draining,
        Self::NoShare,
        Self::Calls,
        Self::Bytes,
        Self::TooLate,
        Self::Overload,
        Self::Displaced,
        Self::Late,
        Self::Memory,
    ];

    /// In metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::NoShare => "no_share",
            Self::Calls => "calls",
            Self::Bytes => "bytes",
            Self::TooLate => "too_late",
            Self::Overload => "overload",
            Self::Displaced => "displaced",
            Self::Late => "late",
            Self::Memory => "memory",
        }
    }

    /// A refusal at the door, and the wait that it knows of.
    pub(crate) const fn of(refusal: Refusal) -> (Self, Duration) {
        match refusal {
            Refusal::Calls => (Self::Calls, Duration::ZERO),
            Refusal::Bytes => (Self::Bytes, Duration::ZERO),
            Refusal::TooLate(wait) => (Self::TooLate, wait),
            Refusal::Overload(wait) => (Self::Overload, wait),
        }
    }

    /// A refusal of a call that has waited.
    pub(crate) const fn dropped(why: Dropped) -> Self {
        match why {
            Dropped::Late => Self::Late,
            Dropped::Overload => Self::Overload,
            Dropped::Displaced => Self::Displaced,
        }
    }
}

/// One refusal.
pub(crate) struct Refused {
    pub(crate) why: Why,
    /// How long those who wait take.
    pub(crate) wait: Duration,
    /// Differs from refusal to refusal.
    pub(crate) lot: u64,
}

impl Refused {
    pub(crate) fn error(self) -> InvokeError {
        let (code, text) = match self.why {
            Why::Draining => (Code::Unavailable, "this node is draining and takes nothing new"),
            Why::NoShare => {
                (Code::Overloaded, "this node has no share of the function's concurrency: another node runs it")
            }
            Why::Calls | Why::Displaced => (Code::Overloaded, "the queue of this node is full: come again later"),
            Why::Bytes => (Code::Overloaded, "too many bytes of bodies wait on this node: come again later"),
            Why::TooLate => (Code::Overloaded, "the call would wait for longer than its deadline: come again later"),
            Why::Overload => (Code::Overloaded, "more calls of the function come than are served: come again later"),
            Why::Memory => (Code::Overloaded, "this node is short of memory and takes no bodies: come again later"),
            Why::Late => return late(Reached::NotSent),
        };
        InvokeError::refused(code, text).retry_after(retry_after(self.wait, self.lot))
    }
}

/// The deadline passed.
pub(crate) fn late(reached: Reached) -> InvokeError {
    let why = match reached {
        Reached::NotSent => "the call's deadline passed while it waited",
        Reached::MaybeRan => "the function took longer than the call's deadline",
    };
    InvokeError::deadline(reached, why)
}
