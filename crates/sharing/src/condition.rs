//! Conditional requests (RFC 9110, 13): whether what the client has is what it would get.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};

/// Conditions that a kept or shared reply can answer. They are taken off what the function is asked, whose whole reply
/// serves everybody, and are then judged for each client.
pub(crate) const ANSWERED: [HeaderName; 2] = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];

/// Requests with one of these are somebody's own: a part of a reply, or a condition that only the function can judge.
const OWN: [HeaderName; 4] = [header::RANGE, header::IF_RANGE, header::IF_MATCH, header::IF_UNMODIFIED_SINCE];

/// Whether a request can be answered with what others get.
pub(crate) fn is_common(headers: &HeaderMap) -> bool {
    !OWN.iter().any(|name| headers.contains_key(name))
}

/// Whether a reply with this head is `304 Not Modified` for this request.
pub(crate) fn is_not_modified(method: &Method, request: &HeaderMap, status: StatusCode, reply: &HeaderMap) -> bool {
    if status != StatusCode::OK || !(*method == Method::GET || *method == Method::HEAD) {
        return false;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        let Some(tag) = reply.get(header::ETAG).and_then(|tag| tag.to_str().ok()) else {
            return request.get_all(header::IF_NONE_MATCH).iter().any(|value| value.as_bytes().trim_ascii() == b"*");
        };
        let values = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        return values.into_iter().any(|list| list_matches(list, tag));
    }
    let since = request.get(header::IF_MODIFIED_SINCE).and_then(date);
    let modified = reply.get(header::LAST_MODIFIED).and_then(date);
    matches!((since, modified), (Some(since), Some(modified)) if modified <= since)
}

/// Weak comparison (RFC 9110, 8.8.3.2). An entity tag may hold a comma, so the list is not simply split.
fn list_matches(list: &str, tag: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let wanted = opaque(tag);
    let mut rest = list.trim();
    if rest == "*" {
        return true;
    }
    while !rest.is_empty() {
        let start = rest.strip_prefix("W/").unwrap_or(rest);
        let Some(end) = start.strip_prefix('"').and_then(|inner| inner.find('"')) else { return false };
        let (this, after) = start.split_at(end + 2);
        if this == wanted {
            return true;
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    false
}

/// An HTTP date.
pub(crate) fn date(value: &http::HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    type Pairs<'a> = &'a [(HeaderName, &'a str)];

    fn headers(pairs: Pairs<'_>) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn conditions_are_judged_by_rfc_9110() {
        let (inm, ims) = (header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE);
        let both = [(header::ETAG, "\"a,b\""), (header::LAST_MODIFIED, OLD)];
        let weak = [(header::ETAG, "W/\"1\"")];
        let table: [(Pairs<'_>, Pairs<'_>, bool, &str); 13] = [
            (&[], &both, false, "no condition"),
            (&[(inm.clone(), "\"a,b\"")], &both, true, "the same tag"),
            (&[(inm.clone(), "W/\"a,b\"")], &both, true, "weak comparison"),
            (&[(inm.clone(), "\"x\", W/\"y\" ,\"a,b\"")], &both, true, "one of a list"),
            (&[(inm.clone(), "\"a\", \"b\"")], &both, false, "a comma inside a tag"),
            (&[(inm.clone(), "*")], &both, true, "any"),
            (&[(inm.clone(), "garbage")], &both, false, "no tag"),
            (&[(inm.clone(), "\"1\"")], &weak, true, "weak on the other side"),
            (&[(inm.clone(), "\"x\""), (ims.clone(), NEW)], &both, false, "tags win over dates"),
            (&[(ims.clone(), OLD)], &both, true, "not modified since"),
            (&[(ims.clone(), NEW)], &both, true, "modified before"),
            (&[(ims.clone(), "yesterday")], &both, false, "no date"),
            (&[(ims, NEW)], &weak, false, "no Last-Modified"),
        ];
        for (request, reply, wanted, what) in table {
            let judged = is_not_modified(&Method::GET, &headers(request), StatusCode::OK, &headers(reply));
            assert_eq!(judged, wanted, "{what}");
        }
        let (request, reply) = (headers(&[(inm, "*")]), headers(&both));
        assert!(!is_not_modified(&Method::POST, &request, StatusCode::OK, &reply), "not a GET");
        assert!(!is_not_modified(&Method::GET, &request, StatusCode::NOT_FOUND, &reply), "not a 200");
    }

    #[test]
    fn ranges_and_preconditions_are_somebodys_own() {
        for name in OWN {
            assert!(!is_common(&headers(&[(name, "x")])));
        }
        assert!(is_common(&headers(&[(header::IF_NONE_MATCH, "\"x\"")])));
    }
}
