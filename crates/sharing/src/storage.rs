//! Whether a reply may be given to others that ask at the same moment, and whether it may be kept (RFC 9111, 3).

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::{directives::Directives, vary::Varies};

/// Headers of one connection, which are no part of what is kept (RFC 9111, 3.1). `Connection` itself may name more.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// A reply's head, and what follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// End-to-end headers.
    pub(crate) headers: HeaderMap,
    pub(crate) directives: Directives,
    pub(crate) varies: Varies,
}

impl Head {
    pub(crate) fn new(status: StatusCode, mut headers: HeaderMap) -> Self {
        strip(&mut headers);
        let (directives, varies) = (Directives::of_reply(&headers), Varies::of(&headers));
        Self { status, headers, directives, varies }
    }

    /// The headers it depends on; none if nobody else may be given it.
    ///
    /// A call that shares an execution has agreed to an answer that was begun before it asked, so `no-cache` does not
    /// stand in the way here; it does once the head is out ([`Self::only_before_head`]).
    pub(crate) fn shareable(&self) -> Option<&[HeaderName]> {
        let status = self.status.as_u16();
        let whole = !matches!(status, 100..=199 | 206 | 304) && !self.headers.contains_key(header::CONTENT_RANGE);
        let own = self.directives.no_store || self.directives.private || self.headers.contains_key(header::SET_COOKIE);
        match &self.varies {
            Varies::On(names) if whole && !own && !self.is_event_stream() => Some(names),
            Varies::On(_) | Varies::Beyond => None,
        }
    }

    /// Whether calls that come after the head must ask again.
    pub(crate) fn only_before_head(&self) -> bool {
        self.directives.no_cache
    }

    /// Whether a shareable reply to this request may be kept as well, if it says or is told for how long.
    pub(crate) fn keepable(&self, request: &HeaderMap, wants: &Directives) -> bool {
        // RFC 9111, 3.5.
        let credentials = request.contains_key(header::AUTHORIZATION);
        let in_spite = self.directives.public || self.directives.must_revalidate || self.directives.s_maxage.is_some();
        let understood =
            matches!(self.status.as_u16(), 200 | 203 | 204 | 300..=303 | 307 | 308 | 404 | 405 | 410 | 414 | 451);
        understood && !wants.no_store && (!credentials || in_spite)
    }

    /// Whether it can be asked whether it is still right.
    pub(crate) fn has_validator(&self) -> bool {
        self.headers.contains_key(header::ETAG) || self.headers.contains_key(header::LAST_MODIFIED)
    }

    /// An endless reply that is nobody's to wait for.
    fn is_event_stream(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE).map_or(&[][..], |kind| kind.as_bytes());
        kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
    }

    /// The same after a `304` that says that it is still right (RFC 9111, 3.2): its body stays, so what describes that
    /// stays too.
    pub(crate) fn freshened(&self, mut newer: HeaderMap) -> Self {
        strip(&mut newer);
        for kept in [
            header::CONTENT_LENGTH,
            header::CONTENT_ENCODING,
            header::CONTENT_TYPE,
            header::CONTENT_RANGE,
            header::CACHE_STATUS,
            header::SET_COOKIE,
        ] {
            newer.remove(kept);
        }
        let mut headers = self.headers.clone();
        // How old it was is said anew or not at all.
        headers.remove(header::AGE);
        for name in newer.keys() {
            headers.remove(name);
        }
        headers.extend(newer);
        Self::new(self.status, headers)
    }

    /// Whether a `304` with these headers can be about this reply.
    pub(crate) fn is_meant_by(&self, newer: &HeaderMap) -> bool {
        newer
            .get(header::ETAG)
            .is_none_or(|tag| self.headers.get(header::ETAG).is_some_and(|own| weak(own) == weak(tag)))
    }

    /// What the whole body's length must be, if the head says so.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}

fn weak(tag: &http::HeaderValue) -> &[u8] {
    tag.as_bytes().strip_prefix(b"W/").unwrap_or(tag.as_bytes())
}

fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let named: Vec<HeaderName> =
            values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    type Pairs<'a> = &'a [(&'static str, &'a str)];

    fn headers(pairs: Pairs<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn head(status: u16, pairs: &[(&'static str, &str)]) -> Head {
        Head::new(StatusCode::from_u16(status).unwrap(), headers(pairs))
    }

    #[test]
    fn what_is_somebodys_own_is_shared_with_nobody() {
        let table: [(u16, Pairs<'_>, bool); 16] = [
            (200, &[], true),
            (200, &[("cache-control", "public, max-age=9")], true),
            (200, &[("cache-control", "max-age=0")], true),
            (200, &[("cache-control", "no-cache")], true),
            (404, &[], true),
            (500, &[], true),
            (200, &[("vary", "accept")], true),
            (200, &[("cache-control", "no-store")], false),
            (200, &[("cache-control", "private")], false),
            (200, &[("cache-control", "private=\"x\", max-age=9")], false),
            (200, &[("set-cookie", "id=1"), ("cache-control", "public, s-maxage=9")], false),
            (200, &[("vary", "*")], false),
            (206, &[], false),
            (200, &[("content-range", "bytes 0-1/2")], false),
            (304, &[], false),
            (200, &[("content-type", "Text/Event-Stream; charset=utf-8")], false),
        ];
        for (status, pairs, wanted) in table {
            assert_eq!(head(status, pairs).shareable().is_some(), wanted, "{status} {pairs:?}");
        }
    }

    #[test]
    fn what_may_be_kept_follows_rfc_9111() {
        let (plain, credentials) = (headers(&[]), headers(&[("authorization", "Basic x")]));
        let table: [(u16, &str, &HeaderMap, bool); 12] = [
            (200, "", &plain, true),
            (404, "", &plain, true),
            (302, "", &plain, true),
            (418, "", &plain, false),
            (500, "max-age=9", &plain, false),
            (503, "max-age=9", &plain, false),
            (200, "max-age=9", &credentials, false),
            (200, "max-age=9, public", &credentials, true),
            (200, "max-age=9, must-revalidate", &credentials, true),
            (200, "max-age=9, proxy-revalidate", &credentials, false),
            (200, "s-maxage=9", &credentials, true),
            (200, "public", &credentials, true),
        ];
        for (status, line, request, wanted) in table {
            let head = head(status, &[("cache-control", line)]);
            assert_eq!(head.keepable(request, &Directives::default()), wanted, "{status} {line}");
        }
        let wants = Directives { no_store: true, ..Directives::default() };
        assert!(!head(200, &[]).keepable(&plain, &wants));
    }

    #[test]
    fn what_means_one_connection_is_not_kept() {
        let head = head(200, &[("connection", "x-mine, close"), ("x-mine", "1"), ("keep-alive", "9"), ("x", "1")]);
        assert_eq!(head.headers, headers(&[("x", "1")]));
    }

    #[test]
    fn a_304_renews_everything_but_what_describes_the_body() {
        let kept = head(200, &[("etag", "\"1\""), ("content-length", "5"), ("x", "1"), ("x", "2"), ("age", "60")]);
        let newer =
            headers(&[("etag", "W/\"1\""), ("content-length", "0"), ("x", "3"), ("cache-control", "max-age=1")]);
        assert!(kept.is_meant_by(&newer));
        assert!(!kept.is_meant_by(&headers(&[("etag", "\"2\"")])));
        assert!(kept.is_meant_by(&headers(&[])));
        let wanted =
            headers(&[("content-length", "5"), ("etag", "W/\"1\""), ("x", "3"), ("cache-control", "max-age=1")]);
        assert_eq!(kept.freshened(newer).headers, wanted);
    }
}
