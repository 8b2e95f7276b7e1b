//! Why a command failed, as people and as programs read it.

use std::{io, process::ExitCode};

use onrush_types::Code;

use crate::args::Format;

/// A command that failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was tried and did not work: exit code 1.
    Failed {
        /// In the words of the API.
        code: Code,
        /// What is wrong and what to do.
        message: String,
    },
    /// It was asked for in a way that cannot be: exit code 2.
    Usage(String),
    /// Whoever read our output has gone (`onrush list | head -1`); nothing to say.
    ReaderGone,
}

impl Failure {
    /// A failure with this code.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Failed { code, message: message.into() }
    }

    /// The caller's mistake.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, message)
    }

    /// Something on this machine went wrong.
    pub(crate) fn here(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// Says it on standard error.
    pub(crate) fn show(&self, format: Format) {
        let (code, message) = match self {
            Self::Failed { code, message } => (*code, message.as_str()),
            Self::Usage(message) => (Code::BadRequest, message.as_str()),
            Self::ReaderGone => return,
        };
        let message = message.trim_end();
        match format {
            Format::Json => eprintln!("{}", serde_json::json!({ "code": code, "message": message })),
            Format::Table => eprintln!("error: {message}"),
        }
    }

    /// 1 failed, 2 usage.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::ReaderGone => ExitCode::SUCCESS,
            Self::Failed { .. } => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
        }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let message = match status.message() {
            _ if not_ours(&status) => "what answers there is not the API of a node; it listens on port 7070 where \
                                       nobody said otherwise (8080 is the gateway's, 7071 is between nodes)"
                .to_owned(),
            "" => format!("the node answered {} without a reason", status.code()),
            message => message.to_owned(),
        };
        Self::new(onrush_proto::status_code(&status), message)
    }
}

/// Whether somebody else answered: a gateway, whose replies are no gRPC, or a peer listener, without this service.
fn not_ours(status: &tonic::Status) -> bool {
    let foreign = status.message().contains("protocol error") || status.message().contains("invalid compression flag");
    foreign || (status.code() == tonic::Code::Unimplemented && status.message().is_empty())
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::here(format!("{error:#}"))
    }
}

/// Failures of standard input and output; files say their name themselves.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        Self::here(error.to_string())
    }
}
