//! Compiles the protos with protox, so that no protoc is needed.

use prost::Message as _;

const PUBLIC: &[&str] =
    &["onrush/v1/functions.proto", "onrush/v1/routes.proto", "onrush/v1/invocations.proto", "onrush/v1/cluster.proto"];
const INTERNAL: &[&str] = &[
    "onrush/internal/v1/catalog.proto",
    "onrush/internal/v1/raft.proto",
    "onrush/internal/v1/peer.proto",
    "onrush/internal/v1/worker.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}");
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let public = protox::compile(PUBLIC, [root])?;
    std::fs::write(out.join("public.bin"), public.encode_to_vec())?;
    let all = protox::compile(PUBLIC.iter().chain(INTERNAL), [root])?;
    std::fs::write(out.join("all.bin"), all.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(all)?;
    Ok(())
}
