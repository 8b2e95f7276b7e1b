//! nginx as a proxy, with and without its cache, before a plain origin.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::{
    bench::Bench,
    process::{Server, free_port},
};

/// What nginx does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Passes it on.
    Proxy,
    /// Answers from its cache.
    Cache,
}

/// Starts it on the servers' core before `origin` (`IP:PORT`); its URL.
pub(crate) async fn proxy(bench: &Bench, origin: &str, what: Use, dir: &Path) -> anyhow::Result<(Server, String)> {
    let addr = format!("127.0.0.1:{}", free_port()?);
    let dir = dir.canonicalize()?;
    let file = dir.join("nginx.conf");
    std::fs::write(&file, config(&dir, &addr, origin, what))?;
    let arguments = ["-p".into(), dir.clone(), "-c".into(), file, "-e".into(), dir.join("nginx.err")];
    let mut server = Server::start(bench.cores.server, &program()?, arguments, &dir.join("nginx.log"))?;
    let url = format!("http://{addr}/");
    server.answers(&bench.http, &url).await?;
    Ok((server, url))
}

fn program() -> anyhow::Result<PathBuf> {
    let known = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"].map(PathBuf::from);
    known.into_iter().find(|path| path.is_file()).context("nginx is missing: apt-get install nginx-light")
}

/// One worker; keep-alive on both sides; no access log, as the others write none.
fn config(dir: &Path, addr: &str, origin: &str, what: Use) -> String {
    let dir = dir.display();
    let root = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let (zone, cache) = match what {
        Use::Proxy => (String::new(), ""),
        Use::Cache => (
            format!("proxy_cache_path {dir}/cache levels=1:2 keys_zone=bench:10m inactive=1h use_temp_path=off;"),
            "proxy_cache bench; proxy_cache_lock on; proxy_cache_valid 200 1h;",
        ),
    };
    format!(
        "{root} worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.err warn;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 100000000; tcp_nodelay on; sendfile on; open_file_cache max=1000;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  {zone}
  upstream origin {{ server {origin}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen {addr} backlog=4096;
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; {cache} }}
  }}
}}
"
    )
}

/// Starts the plain origin on a core; `IP:PORT`.
pub(crate) async fn origin(bench: &Bench, core: usize, dir: &Path) -> anyhow::Result<(Server, String)> {
    let addr = format!("127.0.0.1:{}", free_port()?);
    let own = std::env::current_exe().context("where this program is")?;
    let mut server = Server::start(core, &own, ["origin", &addr], &dir.join("origin.log"))?;
    server.answers(&bench.http, &format!("http://{addr}/")).await?;
    Ok((server, addr))
}
