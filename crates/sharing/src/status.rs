//! `Cache-Status` (RFC 9211): what happened to a call, in a line.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Why a call was not answered from what was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forwarded {
    /// Nothing is kept on this route.
    Miss,
    /// Nothing is kept for this key.
    UriMiss,
    /// Something is, for other values of the headers that it depends on.
    VaryMiss,
    /// Something is, too old.
    Stale,
    /// The request asked for a fresh reply.
    Request,
    /// It is somebody's own: a range, a precondition.
    Bypass,
    /// The last reply for this key could not be shared.
    Marked,
}

impl Forwarded {
    const fn name(self) -> &'static str {
        match self {
            Self::Miss => "miss",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
            Self::Bypass => "bypass",
            Self::Marked => "bypass; detail=hit-for-miss",
        }
    }
}

/// What is said of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// None: a hit.
    pub(crate) forwarded: Option<Forwarded>,
    /// What the function answered, where the client is told something else.
    pub(crate) answered: Option<StatusCode>,
    /// How long the reply is still fresh, in seconds.
    pub(crate) ttl: Option<i64>,
    /// The reply is kept.
    pub(crate) stored: bool,
    /// The execution was somebody else's.
    pub(crate) collapsed: bool,
}

impl Status {
    /// As a field value, behind what caches further back have said.
    pub(crate) fn value<'a>(self, before: impl IntoIterator<Item = &'a HeaderValue>) -> HeaderValue {
        let mut line = String::with_capacity(64);
        for before in before.into_iter().filter_map(|before| before.to_str().ok()) {
            line.push_str(before);
            line.push_str(", ");
        }
        line.push_str("onrush; ");
        match self.forwarded {
            None => line.push_str("hit"),
            Some(why) => {
                line.push_str("fwd=");
                line.push_str(why.name());
            }
        }
        // Writing to a String cannot fail.
        if let Some(answered) = self.answered {
            let _ok = write!(line, "; fwd-status={}", answered.as_u16());
        }
        if let Some(ttl) = self.ttl {
            let _ok = write!(line, "; ttl={ttl}");
        }
        if self.stored {
            line.push_str("; stored");
        }
        if self.collapsed {
            line.push_str("; collapsed");
        }
        // What was a header value is one still with visible ASCII behind it.
        HeaderValue::from_maybe_shared(Bytes::from(line)).unwrap_or(HeaderValue::from_static("onrush"))
    }

    /// Says it in a reply's head.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let value = self.value(headers.get_all(header::CACHE_STATUS));
        headers.insert(header::CACHE_STATUS, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_a_structured_field() {
        let nothing = Status::default();
        let miss = Status { forwarded: Some(Forwarded::UriMiss), ..nothing };
        let table = [
            (Status { ttl: Some(30), ..nothing }, "onrush; hit; ttl=30"),
            (Status { ttl: Some(-3), ..nothing }, "onrush; hit; ttl=-3"),
            (Status { stored: true, ttl: Some(9), ..miss }, "onrush; fwd=uri-miss; ttl=9; stored"),
            (Status { collapsed: true, ..miss }, "onrush; fwd=uri-miss; collapsed"),
            (
                Status { forwarded: Some(Forwarded::Stale), answered: Some(StatusCode::NOT_MODIFIED), ..nothing },
                "onrush; fwd=stale; fwd-status=304",
            ),
            (Status { forwarded: Some(Forwarded::Marked), ..nothing }, "onrush; fwd=bypass; detail=hit-for-miss"),
        ];
        for (status, line) in table {
            assert_eq!(status.value([]), line);
        }
        let behind = HeaderValue::from_static("origin; hit");
        assert_eq!(nothing.value([&behind]), "origin; hit, onrush; hit");
    }
}
