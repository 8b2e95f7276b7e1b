//! What the simulator measures: this program only says where.

use anyhow::ensure;

use crate::{bench::Bench, record::Finding};

/// Points at the page that `./x sim` writes.
#[allow(clippy::unused_async, reason = "a row like the others")]
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Finding> {
    let page = bench.places.root.join("docs/simulation.md");
    ensure!(page.is_file(), "docs/simulation.md is missing: `./x sim` writes it");
    Ok(Finding {
        notes: vec!["The figures are in [simulation.md](simulation.md): `./x sim` measures them and judges them by the same bars.".to_owned()],
        ..Finding::default()
    })
}
