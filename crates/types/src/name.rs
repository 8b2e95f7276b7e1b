//! Names of functions, and what a caller writes to mean one: `name[.namespace][@qualifier]`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{DEFAULT_NAMESPACE, Label, LabelError, VersionNumber};

/// A function's full name. Written `name.namespace`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FunctionName {
    /// The tenant it belongs to.
    pub namespace: Label,
    /// Its name there.
    pub name: Label,
}

impl FunctionName {
    /// Puts the two together.
    pub fn new(namespace: Label, name: Label) -> Self {
        Self { namespace, name }
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.namespace)
    }
}

/// Which version of a function is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Qualifier {
    /// The newest one.
    #[default]
    Latest,
    /// This one.
    Version(VersionNumber),
    /// The one (or the weighted few) that this alias points at.
    Alias(Label),
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Version(number) => number.fmt(f),
            Self::Alias(label) => label.fmt(f),
        }
    }
}

impl FromStr for Qualifier {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "latest" || text == "$LATEST" {
            return Ok(Self::Latest);
        }
        match text.parse() {
            Ok(number) => Ok(Self::Version(number)),
            Err(_) => text.parse().map(Self::Alias),
        }
    }
}

/// A function as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FunctionRef {
    /// Which function.
    pub function: FunctionName,
    /// Which version of it.
    pub qualifier: Qualifier,
}

/// Why a text names no function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    /// A part is no DNS label.
    #[error(transparent)]
    Label(#[from] LabelError),
}

impl FunctionRef {
    /// Reads `name[.namespace][@qualifier]`; a missing namespace is `namespace`.
    ///
    /// # Errors
    /// A part that is no DNS label.
    pub fn parse_in(text: &str, namespace: &Label) -> Result<Self, RefError> {
        let (path, qualifier) = match text.split_once('@') {
            Some((path, qualifier)) => (path, qualifier.parse()?),
            None => (text, Qualifier::Latest),
        };
        let function = match path.split_once('.') {
            Some((name, namespace)) => FunctionName::new(namespace.parse()?, name.parse()?),
            None => FunctionName::new(namespace.clone(), path.parse()?),
        };
        Ok(Self { function, qualifier })
    }
}

impl FromStr for FunctionRef {
    type Err = RefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse_in(text, &DEFAULT_NAMESPACE.parse()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_three_parts() {
        let full: FunctionRef = "thumb.shop@3".parse().unwrap();
        assert_eq!(full.function.to_string(), "thumb.shop");
        assert_eq!(full.qualifier, Qualifier::Version(VersionNumber(3)));
        let short: FunctionRef = "thumb".parse().unwrap();
        assert_eq!(short.function.to_string(), "thumb.default");
        assert_eq!(short.qualifier, Qualifier::Latest);
        assert_eq!("t@live".parse::<FunctionRef>().unwrap().qualifier, Qualifier::Alias("live".parse().unwrap()));
    }

    #[test]
    fn a_part_that_is_no_label_is_refused() {
        for bad in ["", "@1", "a.", ".b", "a.b.c", "a@", "A", "a@b@c", "a@B_"] {
            assert!(bad.parse::<FunctionRef>().is_err(), "{bad}");
        }
    }
}
