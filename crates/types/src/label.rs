//! DNS labels: the form of names of functions, namespaces, aliases and nodes.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A DNS label (RFC 1123, section 2.1): 1 to 63 of `a-z`, `0-9` and `-`, with no `-` at either end.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Arc<str>);

/// Why a text is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Empty or over 63 bytes.
    #[error("a name has 1 to 63 characters; {0:?} has {1}")]
    Length(String, usize),
    /// A character that labels do not have, or `-` at an end.
    #[error("{0:?} is no name: use a-z, 0-9 and '-' (not at the ends), like \"thumbnail-2\"")]
    Form(String),
}

impl Label {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 63 {
            return Err(LabelError::Length(text.chars().take(80).collect(), text.chars().count()));
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !text.bytes().all(plain) || text.starts_with('-') || text.ends_with('-') {
            return Err(LabelError::Form(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.as_str().to_owned()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_dns_labels() {
        for good in ["a", "thumbnail", "a-1", "0", &"x".repeat(63)] {
            assert!(good.parse::<Label>().is_ok(), "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a.b", "ü", "a b", "a/b", &"x".repeat(64)] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
    }
}
