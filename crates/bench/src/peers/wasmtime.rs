//! `wasmtime serve`.

use std::path::Path;

use crate::{
    bench::Bench,
    process::{Server, free_port},
};

/// Starts it on the servers' core with more flags; its URL.
pub(crate) async fn serve(bench: &Bench, guest: &str, flags: &[&str], dir: &Path) -> anyhow::Result<(Server, String)> {
    let addr = format!("127.0.0.1:{}", free_port()?);
    let guest = bench.guest(guest)?.display().to_string();
    let arguments = [&["serve", "-S", "cli", "--addr", &addr], flags, &[guest.as_str()]].concat();
    let mut server = Server::start(bench.cores.server, bench.wasmtime()?, arguments, &dir.join("wasmtime.log"))?;
    // A guest may dislike a GET, so any answer will do.
    let url = format!("http://{addr}/");
    server.until("answer", async |_| bench.http.get(&url).send().await.is_ok()).await?;
    Ok((server, url))
}
