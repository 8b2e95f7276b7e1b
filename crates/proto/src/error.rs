//! Errors on the wire: codes of ours as gRPC statuses, with the exact code beside them.

use onrush_types::Code;
use tonic::{Code as Grpc, Status};

/// The metadata key that carries a code's exact name: several of ours share one gRPC status.
pub(crate) const CODE_KEY: &str = "onrush-code";

/// Bytes from the wire or the disk that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not protobuf, or cut off.
    #[error("{what} cannot be decoded: {why}")]
    Malformed {
        /// Which message.
        what: &'static str,
        /// The decoder's words.
        why: String,
    },
    /// A field that must be there is missing, or holds what no writer writes.
    #[error("{what}.{field} is missing or wrong")]
    Field {
        /// Which message.
        what: &'static str,
        /// Which field of it.
        field: &'static str,
    },
    /// Written by a newer program.
    #[error("{what} has format {found}; this program reads up to {known}: start a newer one")]
    Newer {
        /// Which message.
        what: &'static str,
        /// Its version.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
}

impl From<FormatError> for Status {
    fn from(error: FormatError) -> Self {
        code_status(Code::BadRequest, error.to_string())
    }
}

/// A status that carries this code.
pub fn code_status(code: Code, message: impl Into<String>) -> Status {
    let mut status = Status::new(Grpc::from(code.meaning().grpc), message);
    if let Ok(value) = code.name().parse() {
        status.metadata_mut().insert(CODE_KEY, value);
    }
    status
}

/// The code that a status carries, or the nearest to a status that did not come from Onrush.
pub fn status_code(status: &Status) -> Code {
    let exact = status.metadata().get(CODE_KEY).and_then(|value| value.to_str().ok()).and_then(Code::from_name);
    exact.unwrap_or_else(|| match status.code() {
        Grpc::InvalidArgument | Grpc::OutOfRange | Grpc::FailedPrecondition => Code::BadRequest,
        Grpc::Unauthenticated => Code::Unauthenticated,
        Grpc::PermissionDenied => Code::Forbidden,
        Grpc::NotFound => Code::NotFound,
        Grpc::AlreadyExists | Grpc::Aborted => Code::Conflict,
        Grpc::ResourceExhausted => Code::Overloaded,
        Grpc::DeadlineExceeded | Grpc::Cancelled => Code::DeadlineExceeded,
        Grpc::Unavailable => Code::Unavailable,
        Grpc::Ok | Grpc::Unknown | Grpc::Internal | Grpc::DataLoss | Grpc::Unimplemented => Code::Internal,
    })
}

/// A status for a call that failed, for clients of the public API.
pub fn call_status(error: &onrush_invoke::InvokeError) -> Status {
    code_status(error.code, error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for code in Code::ALL {
            assert_eq!(status_code(&code_status(code, "x")), code);
        }
    }
}
