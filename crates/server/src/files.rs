//! How many files the process may have open. A connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many files this process may have open.
pub fn open_files() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// Raises the limit as far as it goes without asking anybody: distributions start services with 1,024 of the many that
/// they allow. Returns what it is now.
pub fn raise_open_files() -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where that fails, the limit stays what it was.
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).ok();
    open_files()
}
