#!/usr/bin/env bash
# Does the cluster of docker-compose.yml work? Builds the image from a finished binary, starts three nodes, deploys,
# calls through each gateway, kills a container, deploys again, brings it back. Removes whatever it made.
#
#   deploy/check-compose.sh [BINARY]
#
# Ends with `skipped: REASON` and exit code 0 where there is no Docker to ask.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
binary=${1:-${CARGO_TARGET_DIR:-$root/target}/release/onrush}
project=onrushcheck$$
readonly root binary project

# Ports of its own choosing: Docker picks free ones, so a cluster that runs already is not in the way.
export ONRUSH_IMAGE="onrush:check-$$" ONRUSH_BIND=127.0.0.1
export ONRUSH_GATEWAY_1=0 ONRUSH_GATEWAY_2=0 ONRUSH_GATEWAY_3=0 ONRUSH_API_1=0 ONRUSH_API_2=0 ONRUSH_API_3=0
unset ONRUSH_API ONRUSH_TOKEN ONRUSH_GATEWAY ONRUSH_NAMESPACE

say() { printf 'compose: %s\n' "$*"; }
skip() { printf 'skipped: %s\n' "$*"; exit 0; }

fail() {
  say "FAILED: $*"
  compose ps || true
  compose logs --no-color --tail 30 || true
  exit 1
}

command -v docker >/dev/null || skip "no docker command"
timeout 15 docker info >/dev/null 2>&1 || skip "no Docker daemon answers"
if docker compose version >/dev/null 2>&1; then
  compose_command=(docker compose)
elif command -v docker-compose >/dev/null; then
  compose_command=(docker-compose)
else
  skip "no docker compose"
fi
[[ -x $binary ]] || { say "FAILED: $binary is missing; build it first"; exit 1; }

compose() { "${compose_command[@]}" -p "$project" -f "$root/docker-compose.yml" "$@"; }

tear_down() {
  compose down --volumes --timeout 5 >/dev/null 2>&1 || true
  docker image rm "$ONRUSH_IMAGE" >/dev/null 2>&1 || true
}
trap tear_down EXIT

# address NODE PORT: where that port of the container is published. A restarted container gets another one.
address() { compose port "$1" "$2" | tr -d '\r'; }

# until_ok SECONDS WHAT COMMAND...: tries it until it succeeds; prints how long that took.
until_ok() {
  local limit=$1 what=$2 started=$SECONDS
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS - started < limit)) || fail "$what: not within $limit s"
    sleep 0.2
  done
  say "$what after $((SECONDS - started)) s"
}

ready() { curl -fsS --max-time 2 "http://$(address "$1" 8080)/readyz"; }
deploy() { timeout 20 "$binary" --api "http://$(address "$1" 7070)" deploy "$2" --wasm examples/prebuilt/hello.wasm; }

# call NODE FUNCTION: one call through that node's gateway has to be answered with 200.
call() {
  local status
  status=$(curl -sS -o /dev/null --max-time 10 -w '%{http_code}' "http://$(address "$1" 8080)/function/$2") ||
    fail "a call of $2 through $1 was not answered"
  [[ $status == 200 ]] || fail "a call of $2 through $1 was answered with $status"
}

# The gateway that a call goes through is looked up once: asking Compose takes longer than the call.
calls() {
  local node=$1 function=$2 count=$3 good
  good=$(curl -s -o /dev/null --max-time 10 -w '%{http_code}\n' \
    "http://$(address "$node" 8080)/function/$function?n=[1-$count]" | grep -c '^200$' || true)
  [[ $good == "$count" ]] || fail "$good of $count calls of $function through $node were answered with 200"
}

"$root/deploy/image.sh" "$binary"
compose up -d --no-build >/dev/null 2>&1 || fail "compose up"
for node in node1 node2 node3; do until_ok 120 "$node is ready" ready "$node"; done

deploy node1 hello >/dev/null || fail "the deploy of hello through node1"
for node in node1 node2 node3; do call "$node" hello; done
say "deployed through node1, called through each gateway"

# The lowest seed formed the cluster and, at the start, leads it: the hardest node to lose.
compose kill node1 >/dev/null 2>&1 || fail "compose kill node1"
for node in node2 node3; do calls "$node" hello 50; done
say "node1 killed; 50 calls through each of the others answered"
until_ok 30 "a deploy through node2 succeeds" deploy node2 second
for node in node2 node3; do call "$node" second; done

compose start node1 >/dev/null 2>&1 || fail "compose start node1"
until_ok 60 "node1 is back" ready node1
until_ok 30 "node1 knows what was deployed without it" curl -fsS --max-time 5 "http://$(address node1 8080)/function/second"
say "passed"
