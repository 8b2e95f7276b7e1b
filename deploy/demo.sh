#!/usr/bin/env bash
# The demo; `./x demo` runs it after installing what is missing. Three nodes on loopback, a real picture, a burst.
#
#   deploy/demo.sh [--once]
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
target=${ONRUSH_X_TARGET:-${CARGO_TARGET_DIR:-$root/target}}
# The profile of the tests: dependencies are optimised, and `./x test` afterwards builds nothing twice. What a demo waits
# for is the first build; what it shows is the guests' work, which Cranelift compiles the same way in every profile.
bin=$target/debug/onrush
picture=examples/image/sample.jpg
readonly root target bin picture
readonly CALLS=200 SIDE=160
unset ONRUSH_API ONRUSH_TOKEN ONRUSH_GATEWAY ONRUSH_NAMESPACE

once=no
case ${1:-} in
  --once) once=yes ;;
  '') ;;
  *) echo "usage: ./x demo [--once]" >&2; exit 2 ;;
esac

say() { printf '%s\n' "$*"; }

work=$(mktemp -d)
nodes=()
bad=0

stop() {
  trap '' INT TERM
  if ((${#nodes[@]})); then
    say "stopping the nodes"
    kill "${nodes[@]}" 2>/dev/null || true
    local waited
    for ((waited = 0; waited < 150; waited++)); do
      kill -0 "${nodes[@]}" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "${nodes[@]}" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

fail() {
  say "FAILED: $*"
  local file
  for file in "$work"/node?.err; do
    if [[ -s $file ]]; then say "-- last lines of $(basename "$file" .err)"; tail -n 8 "$file"; fi
  done
  exit 1
}

check() { # check WHAT CONDITION...
  local what=$1
  shift
  if "$@"; then say "  ok: $what"; else say "  WRONG: $what"; bad=1; fi
}

# free_port FROM: sets `port` to the first one from there on which nobody listens and which was not handed out before.
declare -A taken=()
free_port() {
  local hex
  for ((port = $1; port < $1 + 500; port++)); do
    [[ -z ${taken[$port]:-} ]] || continue
    hex=$(printf '%04X' "$port")
    grep -qhE "^ *[0-9]+: [0-9A-F]+:$hex " /proc/net/{tcp,tcp6,udp,udp6} 2>/dev/null && continue
    taken[$port]=1
    return
  done
  fail "no free port between $1 and $port"
}

# The width and height of a JPEG, from its frame header.
jpeg_size() {
  od -An -v -tu1 "$1" | tr -s ' ' '\n' | awk '
    NF { b[n++] = $1 }
    END {
      for (i = 2; i < n - 9; i += 2 + b[i + 2] * 256 + b[i + 3]) {
        kind = b[i + 1]
        if (kind >= 192 && kind <= 207 && kind != 196 && kind != 200 && kind != 204) {
          print b[i + 7] * 256 + b[i + 8] "x" b[i + 5] * 256 + b[i + 6]; exit
        }
      }
    }'
}

say "building onrush (the first time takes a while: RocksDB and wasmtime are compiled; \`./x test\` uses the same build)"
# All targets, so that features and with them the dependencies are those of the tests: nothing is built twice.
cargo build --workspace --all-targets --locked

gateways=() apis=() seeds=()
peers=()
for i in 1 2 3; do
  free_port $((8079 + i)); gateways+=("127.0.0.1:$port")
  free_port $((7060 + 10 * i)); apis+=("127.0.0.1:$port")
  free_port $((7061 + 10 * i)); peers+=("127.0.0.1:$port"); seeds+=(--seed "127.0.0.1:$port")
done

for i in 0 1 2; do
  name=node$((i + 1))
  : >"$work/$name.out"
  # A session of its own: Ctrl-C reaches this script only, which then stops the nodes in order.
  setsid "$bin" start --insecure --name "$name" --data-dir "$work/$name" "${seeds[@]}" \
    --gateway "${gateways[i]}" --api "${apis[i]}" --peer "${peers[i]}" >"$work/$name.out" 2>"$work/$name.err" &
  nodes+=($!)
done

started=$SECONDS
for i in 0 1 2; do
  until grep -qx ready "$work/node$((i + 1)).out"; do
    kill -0 "${nodes[i]}" 2>/dev/null || fail "node$((i + 1)) stopped"
    ((SECONDS - started < 60)) || fail "node$((i + 1)) was not ready within 60 s"
    sleep 0.1
  done
done
say "three nodes are ready after $((SECONDS - started)) s:"
"$bin" cluster status --api "http://${apis[0]}"

say
say "deploying examples/image through node1"
"$bin" deploy image --wasm examples/prebuilt/image.wasm --api "http://${apis[0]}"

url="http://${gateways[1]}/function/image?w=$SIDE&h=$SIDE&fit=cover"
say
say "one picture through node2: $(jpeg_size "$picture"), $(stat -c %s "$picture") bytes"
answer=$(curl -sS --max-time 60 -H 'content-type: image/jpeg' --data-binary "@$picture" -o "$work/thumbnail.jpg" \
  -w '%{http_code} %{time_total} %header{x-onrush-node}' "$url") || fail "the call was not answered"
read -r status seconds node <<<"$answer"
[[ $status == 200 ]] || fail "the call was answered with $status: $(head -c 300 "$work/thumbnail.jpg")"
size=$(jpeg_size "$work/thumbnail.jpg")
say "  $size, $(stat -c %s "$work/thumbnail.jpg") bytes, from node $node in $seconds s"
check "the thumbnail is ${SIDE}x$SIDE" test "$size" = "${SIDE}x$SIDE"

say
say "$CALLS at once through node1"
burst="http://${gateways[0]}/function/image?w=$SIDE&h=$SIDE&fit=cover"
for ((i = 0; i < CALLS; i++)); do printf 'url = "%s"\noutput = "/dev/null"\n' "$burst"; done >"$work/urls"
began=$(date +%s%N)
curl -sS --max-time 120 -Z --parallel-immediate --parallel-max "$CALLS" -K "$work/urls" --data-binary "@$picture" \
  -H 'content-type: image/jpeg' -w '%{http_code} %{time_total} %header{x-onrush-node}\n' >"$work/burst" 2>"$work/burst.err" ||
  { sort "$work/burst.err" | uniq -c | head -n 5; say "  (curl reported errors)"; }
total=$((($(date +%s%N) - began) / 1000000))

awk '$1 == 200 { print $3 }' "$work/burst" | sort | uniq -c | awk '{ printf "  node %s made %d\n", $2, $1 }'
awk '$1 == 200 { print $2 * 1000 }' "$work/burst" | sort -n | awk -v total="$total" '
  { t[NR] = $1 }
  END {
    if (NR == 0) exit
    printf "  %d answered in %d ms in all; p50 %d ms, p99 %d ms\n", NR, total, t[int((NR + 1) / 2)], t[int(NR * 0.99 + 0.5)]
  }'
good=$(grep -c '^200 ' "$work/burst" || true)
workers=$(awk '$1 == 200 { print $3 }' "$work/burst" | sort -u | wc -l)
check "all $CALLS were answered with 200 ($good)" test "$good" = "$CALLS"
check "at least two nodes worked ($workers)" test "$workers" -ge 2

if [[ $once == yes ]]; then exit "$bad"; fi

cat <<TEXT

The cluster stays up until Ctrl-C. Try, in another terminal:
  curl -s --data-binary @$picture -o thumbnail.jpg 'http://${gateways[2]}/function/image?w=320'
  $bin list --api http://${apis[0]}
  $bin cluster status --api http://${apis[2]}
TEXT
wait || true
