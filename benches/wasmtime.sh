# shellcheck shell=bash
# Sourced: finds the peer for guests, or installs it. Needs `cache`, `say` and `die`.

readonly WASMTIME=48.0.8

# Prints where it is.
wasmtime_binary() {
  local found
  for found in "$(command -v wasmtime || true)" "$cache/tools/bin/wasmtime"; do
    if [[ -x $found && $("$found" --version) == "wasmtime $WASMTIME"* ]]; then echo "$found"; return; fi
  done
  say "installing wasmtime-cli $WASMTIME into $cache/tools (about 12 minutes on 2 cores)"
  CARGO_TARGET_DIR=$cache/tools-build cargo install --quiet --locked --root "$cache/tools" "wasmtime-cli@$WASMTIME" >&2 ||
    die "wasmtime-cli could not be installed"
  echo "$cache/tools/bin/wasmtime"
}
