//! `/function/{name}[.{namespace}][@{qualifier}][/rest]`, taken apart.

use std::borrow::Cow;

use http::uri::{InvalidUri, PathAndQuery};

const PREFIX: &str = "/function/";

/// A path of a function, in its two parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FunctionPath<'a> {
    /// `name[.namespace][@qualifier]`.
    pub(crate) reference: Cow<'a, str>,
    /// What the function sees: empty, or from the next `/` or `?` on.
    rest: &'a str,
}

impl<'a> FunctionPath<'a> {
    /// The parts, if this is the path of a function.
    pub(crate) fn parse(path_and_query: &'a str) -> Option<Self> {
        let tail = path_and_query.strip_prefix(PREFIX)?;
        let end = tail.find(['/', '?']).unwrap_or(tail.len());
        let (reference, rest) = tail.split_at(end);
        // Some clients encode the one character of a reference that needs no encoding.
        let reference =
            if reference.contains('%') { Cow::Owned(reference.replace("%40", "@")) } else { Cow::Borrowed(reference) };
        Some(Self { reference, rest })
    }

    /// The path and query that the function sees: `/rest`, or `/`.
    pub(crate) fn inner(&self) -> Result<PathAndQuery, InvalidUri> {
        match self.rest {
            "" | "/" => Ok(PathAndQuery::from_static("/")),
            rest if rest.starts_with('/') => PathAndQuery::try_from(rest),
            query => PathAndQuery::try_from(format!("/{query}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_types::FunctionRef;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_have_a_reference_and_a_rest() {
        for (path, reference, inner) in [
            ("/function/hello", "hello", "/"),
            ("/function/hello/", "hello", "/"),
            ("/function/hello?a=/b", "hello", "/?a=/b"),
            ("/function/hello/a/b?c=d?e", "hello", "/a/b?c=d?e"),
            ("/function/hello//a/../b/", "hello", "//a/../b/"),
            ("/function/hello/%2F%20", "hello", "/%2F%20"),
            ("/function/hello.shop@3/x", "hello.shop@3", "/x"),
            ("/function/hello%40live/x@y", "hello@live", "/x@y"),
            ("/function/", "", "/"),
            ("/function//x", "", "/x"),
        ] {
            let parsed = FunctionPath::parse(path).unwrap();
            assert_eq!(parsed.reference, reference, "{path}");
            assert_eq!(parsed.inner().unwrap(), inner, "{path}");
        }
        for other in ["/", "/function", "/functions/x", "/Function/x", "//function/x", "*", "/async-function/x"] {
            assert_eq!(FunctionPath::parse(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_written_reference_and_rest_are_found_again(
            name in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
            namespace in proptest::option::of("[a-z]{1,9}"),
            qualifier in proptest::option::of("[a-z]{1,9}|[1-9][0-9]{0,4}"),
            rest in "(/[a-zA-Z0-9._~%@:+-]{0,12}){0,4}",
            query in proptest::option::of("[a-zA-Z0-9=&/?.%-]{0,20}"),
        ) {
            let mut reference = name;
            if let Some(namespace) = namespace { reference = format!("{reference}.{namespace}"); }
            if let Some(qualifier) = qualifier { reference = format!("{reference}@{qualifier}"); }
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            let path = format!("/function/{reference}{rest}{query}");
            let parsed = FunctionPath::parse(&path).unwrap();
            prop_assert_eq!(&*parsed.reference, &*reference);
            prop_assert!(parsed.reference.parse::<FunctionRef>().is_ok());
            let inner = parsed.inner().unwrap();
            let expected = if rest.is_empty() { "/" } else { &*rest };
            prop_assert_eq!(inner.path(), expected);
            prop_assert_eq!(inner.query().map(|text| format!("?{text}")).unwrap_or_default(), query);
        }

        #[test]
        fn whatever_comes_the_function_sees_an_origin_form(path in "/function/[!-~]{0,40}") {
            if let Some(inner) = FunctionPath::parse(&path).and_then(|parsed| parsed.inner().ok()) {
                prop_assert!(inner.as_str().starts_with('/'));
            }
        }
    }
}
