//! Paths of routes: their segments, and what is wrong with them.

/// First segments that are the gateway's own, on every host. What begins with `_onrush` is kept as well.
pub const RESERVED_PATHS: [&str; 4] = ["function", "async-function", "healthz", "readyz"];

/// Longest path of a route, in bytes.
const LONGEST_PATH: usize = 1_024;

/// Most parameters of one path.
const MOST_PARAMETERS: usize = 16;

/// Longest name of a parameter, in bytes.
const LONGEST_PARAMETER: usize = 32;

/// A part of a route's path, between two `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'a> {
    /// Exactly this. Empty only at the end: `/a/` has an empty segment behind `a`, `/` nothing but one.
    Literal(&'a str),
    /// `{name}`: one segment that is not empty.
    Parameter(&'a str),
    /// `{*name}`: all that is left, which is not empty.
    Rest(&'a str),
}

/// The segments of a route's path. What is wrong in it comes out as a literal.
pub fn segments(path: &str) -> impl Iterator<Item = Segment<'_>> {
    path.strip_prefix('/').unwrap_or(path).split('/').map(|text| {
        let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        match name.map(|name| (name, name.strip_prefix('*'))) {
            None => Segment::Literal(text),
            Some((_, Some(rest))) => Segment::Rest(rest),
            Some((name, None)) => Segment::Parameter(name),
        }
    })
}

/// Everything that is wrong with a path.
pub(super) fn problems(path: &str) -> Vec<String> {
    if !path.starts_with('/') {
        return vec![format!("must begin with '/', not {:?}", shortened(path))];
    }
    if path.len() > LONGEST_PATH {
        return vec![format!("has at most {LONGEST_PATH} bytes, not {}", path.len())];
    }
    let mut problems = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let count = segments(path).count();
    for (at, segment) in segments(path).enumerate() {
        let last = at + 1 == count;
        match segment {
            Segment::Literal("") if last => {}
            Segment::Literal("") => problems.push("has two '/' in a row".to_owned()),
            Segment::Literal(text) => problems.extend(literal_problem(text)),
            Segment::Parameter(name) => {
                problems.extend(name_problem(name, &names));
                names.push(name);
            }
            Segment::Rest(name) => {
                problems.extend(name_problem(name, &names));
                names.push(name);
                if !last {
                    problems.push(format!("{{*{name}}} takes all that is left, so it must be the end"));
                }
            }
        }
    }
    if names.len() > MOST_PARAMETERS {
        problems.push(format!("has at most {MOST_PARAMETERS} parameters, not {}", names.len()));
    }
    if let Some(Segment::Literal(first)) = segments(path).next()
        && (RESERVED_PATHS.contains(&first) || first.starts_with("_onrush"))
    {
        problems.push(format!("/{first} is the gateway's own; choose another beginning"));
    }
    problems
}

fn literal_problem(text: &str) -> Option<String> {
    if text.contains(['{', '}']) {
        return Some(format!("{text:?}: a parameter is a whole segment, {{name}}, or {{*name}} at the end"));
    }
    if text.contains(['?', '#']) {
        return Some(format!("{text:?}: a route goes by the path alone, not by a query or a fragment"));
    }
    if matches!(text, "." | "..") {
        return Some(format!("{text:?}: write the path that it stands for"));
    }
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !plain(byte) {
                return Some(format!(
                    "{text:?}: percent-encode what is not a letter, a digit or one of -._~!$&'()*+,;=:@"
                ));
            }
            continue;
        }
        let (high, low) = (bytes.next().and_then(digit), bytes.next().and_then(digit));
        let Some((high, low)) = high.zip(low) else {
            return Some(format!("{text:?}: behind '%' come two digits of 0-9 and A-F, in upper case"));
        };
        let encoded = high << 4 | low;
        if unreserved(encoded) {
            let plain = char::from(encoded);
            return Some(format!("{text:?}: write {plain:?} as it is; only what needs it is percent-encoded"));
        }
    }
    None
}

fn name_problem(name: &str, before: &[&str]) -> Option<String> {
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !begins || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') || name.len() > LONGEST_PARAMETER {
        let shown = shortened(name);
        return Some(format!(
            "{{{shown}}}: a parameter's name has 1 to {LONGEST_PARAMETER} of A-Z, a-z, 0-9 and '_', and no digit in front"
        ));
    }
    before.contains(&name).then(|| format!("{{{name}}} is there twice"))
}

/// What RFC 3986 allows in a path segment as it is.
fn plain(byte: u8) -> bool {
    unreserved(byte) || b"!$&'()*+,;=:@".contains(&byte)
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Enough of a text to find it by.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
