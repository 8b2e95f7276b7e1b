//! The closed list of error codes. One match gives a code its name, its HTTP and gRPC status and whether a client may
//! try again; there is no `_ =>` arm, so a new code must be placed by hand.

use serde::{Deserialize, Serialize};

/// What went wrong, in the words that clients see in `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The caller sent something that can never succeed.
    BadRequest,
    /// No or wrong credentials.
    Unauthenticated,
    /// Known caller, not allowed.
    Forbidden,
    /// No such function, version, node or route.
    NotFound,
    /// The state moved on since the caller looked, or a name is taken.
    Conflict,
    /// A body, header list or artifact over its limit.
    TooLarge,
    /// The caller's own limit; never retried elsewhere by the platform.
    RateLimited,
    /// The cluster's limit: queues are full or the deadline cannot be met.
    Overloaded,
    /// The call's deadline passed.
    DeadlineExceeded,
    /// No node can serve this now: no quorum, no worker, draining.
    Unavailable,
    /// A write or call was sent and its fate is not known.
    OutcomeUnknown,
    /// The worker's catalog is older than the call's revision; another worker may take it.
    Behind,
    /// The function trapped, crashed or answered nonsense.
    FunctionFailed,
    /// A defect of the platform.
    Internal,
}

/// Everything that follows from a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// The `code` of JSON errors.
    pub name: &'static str,
    /// HTTP status.
    pub http: u16,
    /// gRPC status number.
    pub grpc: i32,
    /// Whether a client may send the same request again later.
    pub retryable: bool,
}

impl Code {
    /// Every code, in declaration order.
    pub const ALL: [Self; 14] = [
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::RateLimited,
        Self::Overloaded,
        Self::DeadlineExceeded,
        Self::Unavailable,
        Self::OutcomeUnknown,
        Self::Behind,
        Self::FunctionFailed,
        Self::Internal,
    ];

    /// The row of this code.
    pub const fn meaning(self) -> Meaning {
        const fn row(name: &'static str, http: u16, grpc: i32, retryable: bool) -> Meaning {
            Meaning { name, http, grpc, retryable }
        }
        match self {
            Self::BadRequest => row("bad_request", 400, 3, false),
            Self::Unauthenticated => row("unauthenticated", 401, 16, false),
            Self::Forbidden => row("forbidden", 403, 7, false),
            Self::NotFound => row("not_found", 404, 5, false),
            Self::Conflict => row("conflict", 409, 10, false),
            Self::TooLarge => row("too_large", 413, 11, false),
            Self::RateLimited => row("rate_limited", 429, 8, true),
            Self::Overloaded => row("overloaded", 503, 14, true),
            Self::DeadlineExceeded => row("deadline_exceeded", 504, 4, false),
            Self::Unavailable => row("unavailable", 503, 14, true),
            Self::OutcomeUnknown => row("outcome_unknown", 502, 2, false),
            Self::Behind => row("behind", 503, 14, true),
            Self::FunctionFailed => row("function_failed", 502, 2, false),
            Self::Internal => row("internal", 500, 13, false),
        }
    }

    /// The name that clients see.
    pub const fn name(self) -> &'static str {
        self.meaning().name
    }

    /// The code with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Who failed: sent to clients as `x-onrush-error-origin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Onrush or the caller's request to it.
    Platform,
    /// The function's own code.
    Function,
}

impl Origin {
    /// As written in headers and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Function => "function",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_found_by_its_name() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.name()), Some(code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn statuses_are_errors() {
        for code in Code::ALL {
            assert!((400..600).contains(&code.meaning().http), "{code}");
            assert!((1..=16).contains(&code.meaning().grpc), "{code}");
        }
    }
}
