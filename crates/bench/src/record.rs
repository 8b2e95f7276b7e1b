//! What a row found, as it is kept between runs: one JSON file per row.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{machine::Facts, row::Row, verdict::Claim};

/// What a row found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Figures with a bar.
    pub(crate) claims: Vec<Claim>,
    /// Everything that was measured: a head and lines.
    pub(crate) table: Table,
    /// How it was measured, and what a reader must know.
    pub(crate) notes: Vec<String>,
}

/// A table of figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) lines: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|&cell| cell.to_owned()).collect(), lines: Vec::new() }
    }

    pub(crate) fn line(&mut self, cells: &[&str]) {
        self.lines.push(cells.iter().map(|&cell| cell.to_owned()).collect());
    }
}

/// A finding with where and when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The row's name.
    pub(crate) row: String,
    /// Made with short rounds.
    pub(crate) quick: bool,
    pub(crate) facts: Facts,
    pub(crate) finding: Finding,
}

impl Record {
    pub(crate) fn new(row: &Row, finding: Finding, facts: Facts, quick: bool) -> Self {
        Self { row: row.name.to_owned(), quick, facts, finding }
    }

    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(format!("{}.json", self.row));
        fs::write(&path, serde_json::to_vec_pretty(self)?).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Every record of a folder.
pub(crate) fn read_all(folder: &Path) -> anyhow::Result<Vec<Record>> {
    let mut records = Vec::new();
    let entries = fs::read_dir(folder)
        .with_context(|| format!("no results in {}: `./x bench all` measures", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read(&path)?;
            records
                .push(serde_json::from_slice(&text).with_context(|| format!("{} is not understood", path.display()))?);
        }
    }
    Ok(records)
}
