//! Where the example components are: rebuilt from source by the gate, or the committed ones.

use std::path::{Path, PathBuf};

/// A built example component, by its name.
///
/// # Panics
/// Where there is none.
pub fn component(name: &str) -> PathBuf {
    let rebuilt = option_env!("ONRUSH_GUESTS_DIR").map(PathBuf::from);
    #[allow(clippy::disallowed_methods, reason = "the gate says where the rebuilt guests are")]
    let rebuilt = std::env::var("ONRUSH_GUESTS_DIR").ok().map(PathBuf::from).or(rebuilt);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed =
        here.join(if matches!(name, "hostile" | "work") { "guests/prebuilt" } else { "../examples/prebuilt" });
    let path = rebuilt.unwrap_or(committed).join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing; build it with `./x guests`", path.display());
    path
}
