//! What a failed call to a peer proves: that nothing happened there, or nothing at all.

use std::error::Error as _;

use bytes::Bytes;
use onrush_proto::{FormatError, code_status, peers::never_connected, status_code};
use onrush_types::{ClusterId, Code, NodeId, RequestId};
use tonic::Status;
use uuid::Uuid;

/// Metadata by which a node that does not lead names the one that does.
const LEADER_KEY: &str = "onrush-leader";
/// Metadata that only answers of Onrush carry; see `onrush_proto::code_status`.
const CODE_KEY: &str = "onrush-code";

/// What is known after a call failed.
#[derive(Debug)]
pub(crate) enum Proof {
    /// The request did not reach the peer, or the peer says that it did nothing.
    NothingHappened { why: String, code: Code, leader: Option<NodeId> },
    /// The request may have been carried out.
    Unknown { why: String },
}

/// Reads a failed call's status.
pub(crate) fn proof(status: &Status) -> Proof {
    let why = status.message().to_owned();
    let typed = status.metadata().contains_key(CODE_KEY);
    let code = status_code(status);
    // The check of identities answers without a code of ours, and before anything else.
    if status.code() == tonic::Code::FailedPrecondition || never_connected(status) {
        return Proof::NothingHappened { why: with_cause(status), code: Code::Unavailable, leader: None };
    }
    match code {
        Code::Unavailable | Code::Overloaded | Code::BadRequest | Code::Behind if typed => {
            Proof::NothingHappened { why, code, leader: leader(status) }
        }
        _ => Proof::Unknown { why: with_cause(status) },
    }
}

/// A refusal that names the leader.
pub(crate) fn refuse(code: Code, why: &str, leader: Option<NodeId>) -> Status {
    let mut status = code_status(code, why);
    if let Some(value) = leader.and_then(|leader| leader.to_string().parse().ok()) {
        status.metadata_mut().insert(LEADER_KEY, value);
    }
    status
}

/// The status with the reason below it: "transport error" alone helps nobody.
pub(crate) fn with_cause(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

fn leader(status: &Status) -> Option<NodeId> {
    status.metadata().get(LEADER_KEY)?.to_str().ok()?.parse().ok()
}

pub(crate) fn cluster_bytes(cluster: ClusterId) -> Bytes {
    Bytes::copy_from_slice(cluster.0.as_bytes())
}

/// A cluster's id; none where the field is empty.
pub(crate) fn read_cluster(what: &'static str, bytes: &[u8]) -> Result<Option<ClusterId>, FormatError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let id = Uuid::from_slice(bytes).map_err(|_| FormatError::Field { what, field: "cluster" })?;
    Ok(Some(ClusterId(id)))
}

pub(crate) fn request_bytes(request: RequestId) -> Bytes {
    Bytes::copy_from_slice(request.0.as_bytes())
}

pub(crate) fn read_request(what: &'static str, bytes: &[u8]) -> Result<RequestId, FormatError> {
    Uuid::from_slice(bytes).map(RequestId).map_err(|_| FormatError::Field { what, field: "request" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_typed_refusals_prove_that_nothing_happened() {
        let refusal = refuse(Code::Unavailable, "node 2 does not lead", Some(NodeId(3)));
        assert!(matches!(proof(&refusal), Proof::NothingHappened { leader: Some(NodeId(3)), .. }));
        let elsewhere = Status::failed_precondition("this is node 2");
        assert!(matches!(proof(&elsewhere), Proof::NothingHappened { .. }));
        // A connection that broke has the same gRPC code as a refusal.
        for status in [
            Status::unavailable("transport error"),
            Status::deadline_exceeded("late"),
            code_status(Code::OutcomeUnknown, "the leader stepped down"),
            code_status(Code::Internal, "?"),
        ] {
            assert!(matches!(proof(&status), Proof::Unknown { .. }), "{status}");
        }
    }
}
