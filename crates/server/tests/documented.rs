//! `docs/limits.md` names each limit of a listener, with its default.

use onrush_server::Config;

#[test]
fn each_limit_is_in_the_document_with_its_default() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/limits.md")).unwrap();
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    assert!(defaults.len() > 20);
    for (key, default) in defaults {
        let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        let row = format!("| `{key}` | {default} |");
        assert!(document.contains(&row), "docs/limits.md has no row that begins with {row}");
    }
}
