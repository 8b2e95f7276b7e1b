//! `Cache-Control` (RFC 9111, 5.2), of requests and of replies. What cannot be read is read as the careful thing.

use std::time::Duration;

use http::{HeaderMap, header};

/// The largest number of seconds there is (RFC 9111, 1.2.2).
const LONGEST: u64 = 1 << 31;

/// How old a reply a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxStale {
    Any,
    Upto(Duration),
}

/// All directives that mean something here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Directives {
    pub(crate) no_store: bool,
    /// With or without field names: a part that must be validated makes the whole so.
    pub(crate) no_cache: bool,
    /// With or without field names, likewise.
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) s_maxage: Option<Duration>,
    pub(crate) min_fresh: Option<Duration>,
    pub(crate) max_stale: Option<MaxStale>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
}

impl Directives {
    /// Those of a reply. A field that cannot be read forbids everything.
    pub(crate) fn of_reply(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            let read = value.to_str().ok().and_then(|text| found.read(text));
            found.no_store |= read.is_none();
        }
        found
    }

    /// Those of a request. A field that cannot be read asks for nothing.
    pub(crate) fn of_request(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            let before = found;
            if value.to_str().ok().and_then(|text| found.read(text)).is_none() {
                found = before;
            }
        }
        // Only where there is no Cache-Control (RFC 9111, 5.4).
        if !headers.contains_key(header::CACHE_CONTROL) {
            let pragma = headers.get_all(header::PRAGMA).iter().filter_map(|value| value.to_str().ok());
            found.no_cache = pragma.flat_map(|text| text.split(',')).any(|part| part.trim() == "no-cache");
        }
        found
    }

    /// One field value. None if it is no list of directives.
    fn read(&mut self, text: &str) -> Option<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let (directive, after) = cut(rest)?;
            rest = after;
            let (name, argument) = match directive.split_once('=') {
                Some((name, argument)) => (name.trim(), Some(argument.trim().trim_matches('"'))),
                None => (directive.trim(), None),
            };
            self.take(&name.to_ascii_lowercase(), argument);
        }
        Some(())
    }

    fn take(&mut self, name: &str, argument: Option<&str>) {
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => shorter(&mut self.max_age, argument),
            "s-maxage" => shorter(&mut self.s_maxage, argument),
            "min-fresh" => shorter(&mut self.min_fresh, argument),
            "stale-while-revalidate" => shorter(&mut self.stale_while_revalidate, argument),
            "stale-if-error" => shorter(&mut self.stale_if_error, argument),
            "max-stale" => {
                self.max_stale = Some(argument.map_or(MaxStale::Any, |text| MaxStale::Upto(seconds(text))));
            }
            // Unknown ones are ignored (RFC 9111, 5.2.3).
            _ => {}
        }
    }

    /// Whether a stale reply may never be sent unvalidated, whatever an operator wants.
    pub(crate) fn forbids_stale(&self) -> bool {
        self.no_cache || self.must_revalidate || self.proxy_revalidate
    }
}

/// The first directive and what follows its comma. None if a quote is not closed.
fn cut(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => return Some((&text[..index], &text[index + 1..])),
            _ => {}
        }
    }
    (!quoted).then_some((text, ""))
}

/// Said twice, the shorter one holds.
fn shorter(time: &mut Option<Duration>, argument: Option<&str>) {
    let said = seconds(argument.unwrap_or_default());
    *time = Some(time.map_or(said, |other| other.min(said)));
}

/// Delta-seconds. What is no number is none at all: at once stale.
pub(crate) fn seconds(text: &str) -> Duration {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Only a number that is too large fails to parse here.
    Duration::from_secs(if digits { text.parse().unwrap_or(LONGEST).min(LONGEST) } else { 0 })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    fn reply(line: &str) -> Directives {
        Directives::of_reply(&headers(&[line]))
    }

    #[test]
    fn directives_are_read_whatever_their_spelling() {
        let nothing = Directives::default();
        let ten = Some(Duration::from_secs(10));
        let table: [(&str, Directives); 12] = [
            ("", nothing),
            ("max-age=10", Directives { max_age: ten, ..nothing }),
            ("MAX-AGE=10", Directives { max_age: ten, ..nothing }),
            ("max-age=\"10\"", Directives { max_age: ten, ..nothing }),
            (" public ,  s-maxage=10 ", Directives { public: true, s_maxage: ten, ..nothing }),
            ("private=\"set-cookie, x\", max-age=10", Directives { private: true, max_age: ten, ..nothing }),
            ("no-cache=\"x\"", Directives { no_cache: true, ..nothing }),
            ("foo=\"no-store\", max-age=10", Directives { max_age: ten, ..nothing }),
            ("foo=\"a,no-store\"", nothing),
            ("stale-if-error=10", Directives { stale_if_error: ten, ..nothing }),
            ("max-stale", Directives { max_stale: Some(MaxStale::Any), ..nothing }),
            (",,no-store,", Directives { no_store: true, ..nothing }),
        ];
        for (text, wanted) in table {
            assert_eq!(reply(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_read_as_the_careful_thing() {
        for text in ["max-age=ten", "max-age", "max-age=-1", "max-age=1.5", "max-age=1, max-age=ten"] {
            assert_eq!(reply(text).max_age, Some(Duration::ZERO), "{text}");
        }
        assert_eq!(reply("max-age=99999999999999999999999").max_age, Some(Duration::from_secs(LONGEST)));
        assert_eq!(reply("max-age=20, max-age=10").max_age, Some(Duration::from_secs(10)));
        assert!(reply("max-age=10, foo=\"open").no_store);
        let mut binary = HeaderMap::new();
        binary.insert(header::CACHE_CONTROL, HeaderValue::from_bytes(b"max-age=\xff").unwrap());
        assert!(Directives::of_reply(&binary).no_store);
        assert_eq!(Directives::of_request(&binary), Directives::default());
    }

    #[test]
    fn several_fields_are_one_list() {
        let both = Directives::of_reply(&headers(&["max-age=10", "private"]));
        assert!(both.private && both.max_age.is_some());
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut request = HeaderMap::new();
        request.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        assert!(Directives::of_request(&request).no_cache);
        request.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        assert!(!Directives::of_request(&request).no_cache);
    }
}
