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

/// How many of so many files may be connections. The rest is for other listeners, peers and the disk: a quarter, but where
/// there are few, up to half.
pub(crate) fn for_connections(files: usize) -> usize {
    const FEW: usize = 1_024;
    files - (files / 4).max((files / 2).min(FEW))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_others() {
        let table = [(256, 128), (1_024, 512), (2_048, 1_024), (4_096, 3_072), (20_000, 15_000), (1 << 20, 786_432)];
        for (files, connections) in table {
            assert_eq!(for_connections(files), connections);
        }
    }
}
