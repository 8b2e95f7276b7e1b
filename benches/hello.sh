#!/usr/bin/env bash
# `./x bench hello`: the hello component on one core, in a whole node (`onrush start`), alone (`onrush serve`), and in
# `wasmtime serve`, all in one run.
#
# The server has core 0 to itself, the load generator core 1. Rounds alternate between the servers, because a machine's
# speed drifts; the table shows medians. CPU is what the kernel charged to the process (all threads, user and system),
# divided by the requests it answered. Writes the table into docs/benchmarks.md, between its markers.
#
#   benches/hello.sh [--rounds N] [--seconds N] [--connections N] [--binary FILE]
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
target=${ONRUSH_X_TARGET:-${CARGO_TARGET_DIR:-$root/target}}
cache=${ONRUSH_X_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/onrush}
readonly root target cache
readonly GUEST=examples/prebuilt/hello.wasm PAGE=docs/benchmarks.md
unset ONRUSH_API ONRUSH_TOKEN ONRUSH_GATEWAY ONRUSH_NAMESPACE
# wasmtime captures a backtrace per request where this is on; both sides run without.
export RUST_BACKTRACE=0

rounds=5 seconds=8 connections=64 binary=
while (($#)); do
  case $1 in
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --connections) connections=$2 ;;
    --binary) binary=$2 ;;
    *) sed -n '9s/^# *//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

say() { printf 'bench: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

work=$(mktemp -d)
server=
stop_server() {
  [[ -n $server ]] || return 0
  kill "$server" 2>/dev/null || true
  local waited
  for ((waited = 0; waited < 100; waited++)); do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  kill -9 "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  server=
}
trap 'stop_server; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

(($(nproc) >= 2)) || die "this needs two cores: one for the server, one for the load generator"
[[ $(getconf _NPROCESSORS_ONLN) -ge 2 ]] || die "core 1 is not there"

# shellcheck source=benches/wasmtime.sh
source benches/wasmtime.sh

free_port() { # the first one from $1 on which nobody listens
  local port hex
  for ((port = $1; port < $1 + 500; port++)); do
    hex=$(printf '%04X' "$port")
    grep -qhE "^ *[0-9]+: [0-9A-F]+:$hex " /proc/net/{tcp,tcp6,udp,udp6} 2>/dev/null || { echo "$port"; return; }
  done
  die "no free port"
}

# start_server NAME: starts it on core 0 and sets `server` and `url`.
start_server() {
  local port api peer
  port=$(free_port 18080)
  case $1 in
    wasmtime)
      taskset -c 0 "$wasmtime" serve -S cli --addr "127.0.0.1:$port" "$GUEST" >"$work/out" 2>&1 &
      url=http://127.0.0.1:$port/
      ;;
    onrush-serve)
      taskset -c 0 "$binary" serve "$GUEST" --addr "127.0.0.1:$port" >"$work/out" 2>&1 &
      url=http://127.0.0.1:$port/
      ;;
    onrush-start)
      api=$(free_port 17070) peer=$(free_port 17571)
      rm -rf "$work/data"
      taskset -c 0 "$binary" start --insecure --name bench --voters 1 --data-dir "$work/data" --seed "127.0.0.1:$peer" \
        --gateway "127.0.0.1:$port" --api "127.0.0.1:$api" --peer "127.0.0.1:$peer" >"$work/out" 2>&1 &
      url=http://127.0.0.1:$port/function/hello
      ;;
  esac
  server=$!
  if [[ $1 == onrush-start ]]; then
    wait_for "$1" grep -qx ready "$work/out"
    "$binary" deploy hello --wasm "$GUEST" --api "http://127.0.0.1:$api" >/dev/null
  fi
  wait_for "$1" curl -fsS -o /dev/null --max-time 2 "$url"
}

wait_for() {
  local name=$1 tries
  shift
  for ((tries = 0; tries < 300; tries++)); do
    if "$@" 2>/dev/null; then return; fi
    kill -0 "$server" 2>/dev/null || { cat "$work/out" >&2; die "$name stopped"; }
    sleep 0.1
  done
  cat "$work/out" >&2
  die "$name did not answer within 30 s"
}

# Ticks of user and system time of all threads. The name in field 2 may hold spaces, so count from its bracket.
cpu_ticks() { sed 's/.*) //' "/proc/$server/stat" | awk '{ print $12 + $13 }'; }

load() { taskset -c 1 wrk -t 1 -c "$connections" -d "$1s" --latency "$url"; }

# measure NAME: one line `requests-per-second cpu-microseconds p50 p99` added to that server's file.
measure() {
  local before after report
  start_server "$1"
  load 2 >/dev/null
  before=$(cpu_ticks)
  report=$(load "$seconds")
  after=$(cpu_ticks)
  if grep -qE 'Non-2xx|Socket errors' <<<"$report"; then printf '%s\n' "$report" >&2; die "$1 answered with errors"; fi
  awk -v ticks=$((after - before)) -v hertz="$(getconf CLK_TCK)" '
    $1 == "Requests/sec:" { rate = $2 }
    $2 == "requests" && $3 == "in" { requests = $1 }
    $1 == "50%" { p50 = $2 }
    $1 == "99%" { p99 = $2 }
    END { printf "%.0f %.1f %s %s\n", rate, ticks / hertz * 1e6 / requests, p50, p99 }' <<<"$report" | tee -a "$work/$1.rounds" >&2
  stop_server
}

# median NAME COLUMN
median() { awk -v column="$2" '{ print $column }' "$work/$1.rounds" | sort -h | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

row() { # row NAME LABEL
  local rate base
  rate=$(median "$1" 1) base=$(median wasmtime 1)
  printf '| %s | %s | %s | %s | %s | %s |\n' "$2" "$rate" "$(awk -v a="$rate" -v b="$base" 'BEGIN { printf "%.2f", a / b }')" \
    "$(median "$1" 2)" "$(median "$1" 3)" "$(median "$1" 4)"
}

table() {
  cat <<TEXT
\`./x bench hello\`, $(date -u +%Y-%m-%d), one core of $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r | cut -d- -f1).
$connections connections, medians of $rounds alternating rounds of $seconds s after a warm-up, fresh instance per call on all sides.

| server | requests/s | times \`wasmtime serve\` | CPU µs per request | p50 | p99 |
|---|---|---|---|---|---|
$(row onrush-start "a whole node, \`onrush start\`")
$(row onrush-serve "\`onrush serve\`")
$(row wasmtime "\`wasmtime serve\` $WASMTIME")
TEXT
}

# Puts the table between the markers, where an older one may be.
publish() {
  awk -v file="$work/table" '
    /<!-- bench:hello -->/ { print; print ""; while ((getline line < file) > 0) print line; print ""; skip = 1; next }
    /<!-- \/bench:hello -->/ { skip = 0 }
    !skip' "$PAGE" >"$work/page"
  cat "$work/page" >"$PAGE"
}

wasmtime=$(wasmtime_binary)
if [[ -z $binary ]]; then
  cargo build --release --locked -p onrush
  binary=$target/release/onrush
fi

for ((round = 1; round <= rounds; round++)); do
  for name in wasmtime onrush-start onrush-serve; do
    printf 'bench: round %d of %d, %s: ' "$round" "$rounds" "$name" >&2
    measure "$name"
  done
done
table >"$work/table"
publish
cat "$work/table"
