//! Which versions to make ready ahead of their first call: pure.

use std::sync::Arc;

use onrush_catalog::{Catalog, FunctionVersion};

/// The latest versions of the functions that changed last, newest first, at most `limit` of them.
pub(crate) fn wanted(catalog: &Catalog, limit: usize) -> Vec<Arc<FunctionVersion>> {
    let mut newest: Vec<_> = catalog.functions.values().map(|function| &function.latest).collect();
    let newest_first = |version: &&Arc<FunctionVersion>| std::cmp::Reverse(version.revision);
    // Ten thousand functions need not be sorted to find a few hundred.
    if limit > 0 && limit < newest.len() {
        newest.select_nth_unstable_by_key(limit - 1, newest_first);
    }
    newest.truncate(limit);
    newest.sort_unstable_by_key(newest_first);
    newest.into_iter().cloned().collect()
}
