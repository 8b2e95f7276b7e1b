//! Why the API refuses: one error, shown as a gRPC status or as JSON.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use onrush_catalog::{ArtifactError, CommitError, ControlError, Refusal};
use onrush_runtime::PrepareError;
use onrush_types::Code;

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// In the words that clients see.
    pub code: Code,
    /// What is wrong and what to do.
    pub message: String,
}

impl ApiError {
    /// An error with this code and text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, message)
    }
}

macro_rules! coded {
    ($($error:ty),*) => {
        $(impl From<$error> for ApiError {
            fn from(error: $error) -> Self {
                Self::new(error.code(), error.to_string())
            }
        })*
    };
}

coded!(CommitError, PrepareError);

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::Missing(_) => {
                Self::new(Code::NotFound, format!("{error}; upload it first, then deploy it again"))
            }
            other @ (ArtifactError::Rejected(_)
            | ArtifactError::TooLarge(_)
            | ArtifactError::Unavailable(_)
            | ArtifactError::Internal(_)) => Self::new(other.code(), other.to_string()),
        }
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        Self::new(error.code, error.why)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.why)
    }
}

impl From<ApiError> for tonic::Status {
    fn from(error: ApiError) -> Self {
        onrush_proto::code_status(error.code, error.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let meaning = self.code.meaning();
        let status = StatusCode::from_u16(meaning.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::Json(serde_json::json!({ "code": meaning.name, "message": self.message }));
        if meaning.retryable {
            return (status, [(header::RETRY_AFTER, "1")], body).into_response();
        }
        (status, body).into_response()
    }
}
