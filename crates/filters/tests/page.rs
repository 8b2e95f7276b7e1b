//! `docs/filters.md` says what the code does.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{fs, path::Path};

#[test]
fn the_page_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/filters.md");
    let page = onrush_filters::markdown();
    #[allow(clippy::disallowed_methods, reason = "a test's switch, not a setting")]
    let rewrite = std::env::var("ONRUSH_REWRITE").is_ok_and(|value| value == "1");
    if rewrite {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/filters.md is stale: run ONRUSH_REWRITE=1 cargo test -p onrush-filters");
}
