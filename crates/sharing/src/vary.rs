//! `Vary`: which of a request's headers a reply depends on, and the keys that follow from them.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use onrush_invoke::SharingKey;
use sha2::{Digest, Sha256};

/// Replies that depend on more headers than this are nobody else's.
const MOST_NAMES: usize = 16;

/// What a reply depends on besides its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Varies {
    /// On these headers, sorted; usually on none.
    On(Vec<HeaderName>),
    /// On something that no cache can know (`*`), or on too much.
    Beyond,
}

impl Varies {
    /// What a reply says.
    pub(crate) fn of(reply: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for value in reply.get_all(header::VARY) {
            let Ok(text) = value.to_str() else { return Self::Beyond };
            for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                match part.parse::<HeaderName>() {
                    Ok(name) if part != "*" => names.push(name),
                    Ok(_) | Err(_) => return Self::Beyond,
                }
            }
        }
        Self::sorted(names)
    }

    fn sorted(mut names: Vec<HeaderName>) -> Self {
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        if names.len() > MOST_NAMES { Self::Beyond } else { Self::On(names) }
    }

    /// On what either depends. A reply may always be kept for fewer requests than it says, so one that says less than
    /// its predecessor does not hide the others.
    pub(crate) fn and(self, others: &[HeaderName]) -> Self {
        match self {
            Self::On(names) => Self::sorted(names.into_iter().chain(others.iter().cloned()).collect()),
            Self::Beyond => Self::Beyond,
        }
    }
}

/// The key of what a request like this gets.
pub(crate) fn variant(key: SharingKey, names: &[HeaderName], request: &HeaderMap) -> SharingKey {
    let mut hash = Sha256::new_with_prefix(key.0);
    for name in names {
        hash.update(name.as_str());
        // No name and no value holds a line feed or a zero, so no two requests are written alike.
        hash.update([b'\n']);
        for value in request.get_all(name) {
            hash.update(value.as_bytes().trim_ascii());
            hash.update([0]);
        }
        hash.update([b'\n']);
    }
    SharingKey(hash.finalize().into())
}

/// Whether two requests are alike in these headers, and in those that say who somebody is: a key that is the same for
/// different credentials is a mistake, and must not become a leak.
pub(crate) fn alike(names: &[HeaderName], one: &HeaderMap, other: &HeaderMap) -> bool {
    let mut names = names.iter().chain(&[header::AUTHORIZATION, header::COOKIE]);
    names.all(|name| trimmed(one, name).eq(trimmed(other, name)))
}

fn trimmed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).into_iter().map(|value: &HeaderValue| value.as_bytes().trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn the_names_are_a_sorted_set() {
        let of = |value: &str| Varies::of(&headers(&[("vary", value)]));
        let on = |names: &[&'static str]| Varies::On(names.iter().copied().map(HeaderName::from_static).collect());
        assert_eq!(Varies::of(&HeaderMap::new()), on(&[]));
        assert_eq!(of("Origin, accept,origin"), on(&["accept", "origin"]));
        assert_eq!(of("accept, *"), Varies::Beyond);
        assert_eq!(of("no name"), Varies::Beyond);
        let many = (0..=MOST_NAMES).map(|index| format!("x-{index}")).collect::<Vec<_>>().join(",");
        assert_eq!(of(&many), Varies::Beyond);
        assert_eq!(of("b").and(&[HeaderName::from_static("a")]), on(&["a", "b"]));
    }

    #[test]
    fn variants_differ_exactly_where_the_named_headers_do() {
        let names = [HeaderName::from_static("a"), HeaderName::from_static("b")];
        let key = SharingKey([7; 32]);
        let of = |pairs: &[(&'static str, &str)]| variant(key, &names, &headers(pairs));
        assert_eq!(of(&[("a", "1"), ("c", "1")]), of(&[("a", " 1 "), ("c", "2")]));
        let all = [
            of(&[]),
            of(&[("a", "1")]),
            of(&[("b", "1")]),
            of(&[("a", "")]),
            of(&[("a", "1"), ("b", "1")]),
            of(&[("a", "1, 1")]),
            variant(SharingKey([8; 32]), &names, &HeaderMap::new()),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one), "{index}");
        }
    }

    #[test]
    fn nobody_is_like_somebody_with_other_credentials() {
        assert!(alike(&[], &headers(&[("accept", "x")]), &headers(&[("accept", "y")])));
        assert!(!alike(&[header::ACCEPT], &headers(&[("accept", "x")]), &headers(&[("accept", "y")])));
        assert!(!alike(&[], &headers(&[("cookie", "x")]), &headers(&[])));
        assert!(!alike(&[], &headers(&[("authorization", "x")]), &headers(&[("authorization", "y")])));
    }
}
