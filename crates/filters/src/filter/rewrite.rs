//! `rewrite`: which path the function sees.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use onrush_invoke::InvokeError;
use onrush_types::Code;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use super::{Filter, Parameter, Wrong, wrong};
use crate::stack::Gateways;

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    prefix: Option<String>,
    regex: Option<String>,
    to: String,
}

/// Longer patterns and targets are programs.
const LONGEST: usize = 512;

/// What a compiled pattern, and the states that matching makes, may take, in bytes. A pattern that explodes fails here.
const LARGEST: usize = 256 << 10;

/// The filter.
#[derive(Debug)]
pub(crate) enum Rewrite {
    Prefix { prefix: String, to: String },
    Regex { regex: Regex, to: String },
    Template(Vec<Piece>),
}

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Parameter(String),
}

impl Filter for Rewrite {
    const NAME: &'static str = "rewrite";
    const SUMMARY: &'static str = "Changes the path that the function sees; the query stays. With `prefix` the path's \
        beginning is replaced, with `regex` what matches, with neither the path is made anew from the route's parameters.";
    const EXAMPLE: &'static str = r#"{ use = "rewrite", to = "/resize/{size}/{rest}" }"#;
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "to",
            form: r#""/v2", "/img/$1" or "/resize/{size}""#,
            default: None,
            meaning: "what takes its place: beside `regex`, `$1` and `$name` are what groups matched; alone, `{name}` is a \
                parameter of the route's path. At most 512 bytes",
        },
        Parameter {
            name: "prefix",
            form: r#""/thumb""#,
            default: Some("(none)"),
            meaning: "whole segments that the path begins with; other paths stay as they are",
        },
        Parameter {
            name: "regex",
            form: r#""^/i/([0-9]+)$""#,
            default: Some("(none)"),
            meaning: "a pattern in the syntax of the regex crate, without look-around and back-references, so that its time \
                grows with the path alone; at most 512 bytes and 256 KiB compiled",
        },
    ];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        let Settings { prefix, regex, to } = settings;
        let texts = [("prefix", prefix.as_ref()), ("regex", regex.as_ref()), ("to", Some(&to))];
        let long = texts.into_iter().filter(|(_, text)| text.is_some_and(|text| text.len() > LONGEST));
        let long: Vec<_> = long.map(|(name, _)| wrong(name, format!("at most {LONGEST} bytes"))).collect();
        if !long.is_empty() {
            return Err(long);
        }
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !visible(&to) || to.contains('?') {
            return Err(vec![wrong(
                "to",
                "a path of visible ASCII characters, without ? and #; encode others like %20",
            )]);
        }
        match (prefix, regex) {
            (Some(_), Some(_)) => Err(vec![wrong("regex", "give `prefix` or `regex`, not both")]),
            (Some(prefix), None) if !prefix.starts_with('/') => Err(vec![wrong("prefix", "a path begins with /")]),
            (Some(_), None) if !to.starts_with('/') => Err(vec![wrong("to", "a path begins with /")]),
            (Some(prefix), None) => {
                let bare = |text: String| text.trim_end_matches('/').to_owned();
                Ok(Self::Prefix { prefix: bare(prefix), to: bare(to) })
            }
            (None, Some(regex)) => {
                let built = RegexBuilder::new(&regex).size_limit(LARGEST).dfa_size_limit(LARGEST).build();
                let regex = built.map_err(|error| vec![wrong("regex", error.to_string())])?;
                Ok(Self::Regex { regex, to })
            }
            (None, None) => template(&to).map(Self::Template).map_err(|why| vec![wrong("to", why)]),
        }
    }
}

fn template(to: &str) -> Result<Vec<Piece>, String> {
    if !to.starts_with('/') {
        return Err("a path begins with /".to_owned());
    }
    let mut pieces = Vec::new();
    let mut rest = to;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("a { has no }")?;
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        pieces.push(Piece::Parameter(name.trim_start_matches('*').to_owned()));
        rest = after;
    }
    if rest.contains('}') {
        return Err("a } has no {".to_owned());
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

impl Rewrite {
    /// The parameters that it takes from the route's path.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        let pieces = match self {
            Self::Template(pieces) => pieces.as_slice(),
            Self::Prefix { .. } | Self::Regex { .. } => &[],
        };
        pieces.iter().filter_map(|piece| match piece {
            Piece::Parameter(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The path that the function sees instead of this one.
    pub(crate) fn path<'a>(
        &self,
        whole: &PathAndQuery,
        parameter: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<PathAndQuery>, InvokeError> {
        let path = whole.path();
        let mut new = match self {
            Self::Prefix { prefix, to } => match path.strip_prefix(prefix.as_str()) {
                Some("") if to.is_empty() => "/".to_owned(),
                Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
                _ => return Ok(None),
            },
            Self::Regex { regex, to } => match regex.replace(path, to.as_str()) {
                Cow::Borrowed(_) => return Ok(None),
                Cow::Owned(new) => new,
            },
            Self::Template(pieces) => {
                let text = |piece: &Piece| match piece {
                    Piece::Text(text) => text.clone(),
                    Piece::Parameter(name) => parameter(name).unwrap_or_default().to_owned(),
                };
                pieces.iter().map(text).collect()
            }
        };
        if let Some(query) = whole.query() {
            new.push('?');
            new.push_str(query);
        }
        let valid = new.starts_with('/').then(|| PathAndQuery::try_from(new).ok()).flatten();
        let refused = || {
            let message = format!("the path {path:?} has no place behind this route (filter rewrite)");
            InvokeError::refused(Code::BadRequest, message)
        };
        valid.map(Some).ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(prefix: Option<&str>, regex: Option<&str>, to: &str) -> Result<Rewrite, Vec<Wrong>> {
        let [prefix, regex] = [prefix, regex].map(|text| text.map(str::to_owned));
        Rewrite::build(Settings { prefix, regex, to: to.into() }, &Gateways::default())
    }

    fn seen(rewrite: &Rewrite, path: &str) -> String {
        let whole = PathAndQuery::try_from(path).unwrap();
        let parameter =
            |name: &str| [("size", "64"), ("rest", "a/b")].into_iter().find(|pair| pair.0 == name).map(|p| p.1);
        rewrite.path(&whole, parameter).unwrap().map_or_else(|| path.to_owned(), |path| path.to_string())
    }

    #[test]
    fn a_prefix_is_whole_segments() {
        let to_v2 = rewrite(Some("/thumb/"), None, "/v2").unwrap();
        for (path, expected) in
            [("/thumb", "/v2"), ("/thumb/a?b=c", "/v2/a?b=c"), ("/thumbs/a", "/thumbs/a"), ("/x/thumb", "/x/thumb")]
        {
            assert_eq!(seen(&to_v2, path), expected);
        }
        let away = rewrite(Some("/thumb"), None, "/").unwrap();
        assert_eq!((seen(&away, "/thumb"), seen(&away, "/thumb/a")), ("/".into(), "/a".into()));
    }

    #[test]
    fn a_pattern_and_a_template_make_the_path_anew() {
        let pattern = rewrite(None, Some("^/i/([0-9]+)$"), "/img/$1").unwrap();
        assert_eq!((seen(&pattern, "/i/7?x"), seen(&pattern, "/i/x")), ("/img/7?x".into(), "/i/x".into()));
        let template = rewrite(None, None, "/r/{size}/{*rest}").unwrap();
        assert_eq!(seen(&template, "/whatever?q=1"), "/r/64/a/b?q=1");
        assert_eq!(template.parameters().collect::<Vec<_>>(), ["size", "rest"]);
        let broken = rewrite(None, Some("^/"), "x").unwrap();
        let whole = PathAndQuery::from_static("/a");
        assert_eq!(broken.path(&whole, |_| None).unwrap_err().code, Code::BadRequest);
    }

    #[test]
    fn what_explodes_or_is_no_path_is_refused_by_its_field() {
        let long = "a".repeat(513);
        for (prefix, regex, to, field) in [
            (None, Some("(a{1000}){1000}"), "/x", "regex"),
            (None, Some("[\\w\\W]{0,5000}\\p{L}{5000}"), "/x", "regex"),
            (None, Some("(?=a)"), "/x", "regex"),
            (None, Some(&*long), "/x", "regex"),
            (Some("/a"), Some("a"), "/x", "regex"),
            (Some("a"), None, "/x", "prefix"),
            (Some("/a"), None, "x", "to"),
            (None, None, "x", "to"),
            (None, None, "/{a", "to"),
            (None, None, "/a}", "to"),
            (None, None, "/a b", "to"),
            (None, None, "/a?b", "to"),
        ] {
            let found = rewrite(prefix, regex, to).unwrap_err();
            assert_eq!(found[0].field, field, "{prefix:?} {regex:?} {to:?}: {found:?}");
        }
    }
}
