//! Ids. Each is a type of its own, so that no two can be mixed up.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl $name {
            /// The one after this.
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

macro_rules! unique {
    ($(#[$doc:meta])* $name:ident, $make:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new one.
            #[allow(clippy::new_without_default, reason = "a default id would hide that each call makes another one")]
            pub fn new() -> Self {
                Self(Uuid::$make())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

number! {
    /// A node of the cluster. Handed out by the catalog's counter, never used again after the node is gone.
    NodeId
}
number! {
    /// The catalog's counter of changes: every accepted command raises it by one.
    Revision
}
number! {
    /// A function's immutable version: 1, 2, 3...
    VersionNumber
}
unique! {
    /// A cluster; made once, when its first node forms it.
    ClusterId, new_v4
}
unique! {
    /// A catalog command as its sender names it: the same id again returns the first outcome.
    RequestId, new_v4
}
unique! {
    /// One call, in replies, logs and traces. Sorts by time.
    InvocationId, now_v7
}
