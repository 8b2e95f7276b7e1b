#!/usr/bin/env bash
# `./x bench list | run ROW... | all | report`: every figure that is claimed, beside its peer. Packages are installed by `x`.
#
#   benches/suite.sh list
#   benches/suite.sh run ROW... [--quick] [--binary FILE]
#   benches/suite.sh all [--quick] [--binary FILE]
#   benches/suite.sh report
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
target=${ONRUSH_X_TARGET:-${CARGO_TARGET_DIR:-$root/target}}
cache=${ONRUSH_X_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/onrush}
readonly root target cache
readonly RESULTS=$target/bench PAGE=docs/benchmarks.md
unset ONRUSH_API ONRUSH_TOKEN ONRUSH_GATEWAY ONRUSH_NAMESPACE

say() { printf 'bench: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# shellcheck source=benches/wasmtime.sh
source benches/wasmtime.sh

verb=${1:-list}
(($#)) && shift
binary=
arguments=()
while (($#)); do
  case $1 in
    --binary) [[ $# -ge 2 ]] || die "--binary needs a file"; binary=$2; shift 2 ;;
    *) arguments+=("$1"); shift ;;
  esac
done

# build PACKAGE...: with the profile that is shipped.
build() {
  if [[ -n $binary ]]; then
    bench=$(dirname "$binary")/onrush-bench
    [[ -x $bench ]] || die "$bench is missing: build the package onrush-bench beside $binary"
    return
  fi
  say "building for release: $*"
  cargo build --release --locked "${@/#/--package=}"
  binary=$target/release/onrush bench=$target/release/onrush-bench
}

case $verb in
  list)
    build onrush-bench
    exec "$bench" list
    ;;
  run | all)
    build onrush onrush-bench
    # Thousands of connections on both sides.
    ulimit -n "$(ulimit -Hn)" || true
    wasmtime=$(wasmtime_binary)
    exec "$bench" "$verb" ${arguments[@]+"${arguments[@]}"} --onrush "$binary" --wasmtime "$wasmtime" \
      --results "$RESULTS" --root "$root"
    ;;
  report)
    build onrush-bench
    exec "$bench" report --results "$RESULTS" --page "$PAGE"
    ;;
  *) sed -n '4,7s/^# *//p' "$0" >&2; exit 2 ;;
esac
