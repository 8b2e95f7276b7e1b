//! What every row needs: where things are, which cores are whose, how long to measure.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;

use crate::machine::Cores;

/// Where things are.
#[derive(Debug)]
pub(crate) struct Places {
    /// The repository.
    pub(crate) root: PathBuf,
    /// The program that is measured.
    pub(crate) onrush: PathBuf,
    /// The peer for guests.
    pub(crate) wasmtime: Option<PathBuf>,
}

/// What every row needs.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Where things are.
    pub(crate) places: Places,
    /// Which cores are whose.
    pub(crate) cores: Cores,
    /// Short rounds.
    pub(crate) quick: bool,
    /// For control, not for measuring.
    pub(crate) http: reqwest::Client,
}

impl Bench {
    pub(crate) fn new(places: Places, cores: Cores, quick: bool) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()?;
        Ok(Self { places, cores, quick, http })
    }

    /// How often each side is measured, alternating.
    pub(crate) const fn rounds(&self) -> usize {
        if self.quick { 3 } else { 5 }
    }

    /// The time of one measurement.
    pub(crate) const fn round(&self) -> Duration {
        Duration::from_secs(if self.quick { 3 } else { 8 })
    }

    /// One of two values, by how much time there is.
    pub(crate) fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A guest's component.
    pub(crate) fn guest(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folders = ["examples/prebuilt", "tests/guests/prebuilt"];
        let mut paths = folders.iter().map(|folder| self.places.root.join(folder).join(format!("{name}.wasm")));
        paths
            .find(|path| path.is_file())
            .with_context(|| format!("{name}.wasm is missing: `./x guests {name}` builds it"))
    }

    /// The peer for guests.
    pub(crate) fn wasmtime(&self) -> anyhow::Result<&PathBuf> {
        self.places.wasmtime.as_ref().context("wasmtime-cli is missing: `./x bench` installs it")
    }
}

/// Says what goes on.
pub(crate) fn say(text: impl AsRef<str>) {
    eprintln!("bench:   {}", text.as_ref());
}
