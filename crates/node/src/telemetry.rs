//! The subscriber for logs and the recorder of metrics: the process-wide state that is set once, here.

use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, fmt};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged where nobody says otherwise. Raft's own story has warnings and errors in every healthy election; what
/// matters of it (who leads, who votes, a failing disk) is told by us. `openraft=info` brings it back.
pub const USUAL_FILTER: &str = "info,openraft=off,chitchat=warn";

/// Sends log lines to standard error. `filter` is a level or a tracing filter such as `info,onrush_router=debug`. A
/// second call in one process does nothing.
///
/// # Errors
/// A filter that cannot be read.
pub fn init_logs(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| anyhow::anyhow!("log filter {filter:?}: {error}"))?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true).with_ansi(colours);
    // A subscriber that is set already belongs to the process that embeds us; its choice stands.
    let _already = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    }
    .is_err();
    Ok(())
}

/// Buckets for durations in seconds: 100 µs to 30 s.
const BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Prints every metric as Prometheus text.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Installs the recorder, once per process, and returns what prints its contents as Prometheus text.
pub fn metrics() -> Metrics {
    let handle = RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).ok()?;
        builder.install_recorder().ok()
    });
    let handle = handle.clone();
    Arc::new(move || handle.as_ref().map(PrometheusHandle::render).unwrap_or_default())
}

/// Folds samples that are older than a scrape interval into their histograms, so that memory stays bounded when
/// nobody scrapes.
pub(crate) fn upkeep() {
    if let Some(Some(handle)) = RECORDER.get() {
        handle.run_upkeep();
    }
}
