#!/usr/bin/env bash
# The whole gate; `./x test` runs it after installing what is missing. Every step runs, whatever the ones before it said.
# Ends with one line: N passed, N failed, N skipped. Tests count one by one, every other step counts as one.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
target=${ONRUSH_X_TARGET:-${CARGO_TARGET_DIR:-$root/target}}
cache=${ONRUSH_X_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/onrush}
readonly root target cache

# shellcheck source=deploy/lib/packages.sh
source "$root/deploy/lib/packages.sh"

passed=0 failed=0 skipped=0
failures=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# The sum of a number that stands before a word, over the summary lines of cargo test and nextest.
count() {
  sed -E 's/\x1b\[[0-9;]*m//g' "$log" | grep -aE '^test result:|^ +Summary \[' |
    grep -oE "[0-9]+ (tests? )?($1)" | awk '{ sum += $1 } END { print sum + 0 }' || true
}

# step NAME COMMAND...: runs it, shows it, counts it.
step() {
  local name=$1 started=$SECONDS verdict=passed status=0
  shift
  printf '\n==> %s\n' "$name"
  # Not `... || status=$?`: that would switch errexit off inside the step.
  set +e
  (set -e; "$@") </dev/null 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  set -e
  local good bad ignored
  good=$(count passed) bad=$(count 'failed|timed out|exec failed') ignored=$(count 'skipped|ignored')
  if ((status != 0)); then
    verdict=FAILED
    failures+=("$name")
    # A step that breaks before its tests run has failed as well.
    ((bad > 0)) || bad=1
  elif grep -q '^skipped: ' "$log"; then
    verdict=skipped
    ignored=$((ignored + 1))
  elif ((good + bad + ignored == 0)) && [[ $name != *tests* ]]; then
    good=1
  fi
  passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + ignored))
  printf '==> %s: %s in %d s\n' "$name" "$verdict" "$((SECONDS - started))"
}

format() {
  local manifest
  cargo fmt --all --check
  for manifest in examples/*/Cargo.toml tests/guests/*/Cargo.toml; do
    [[ -f $manifest ]] || continue
    cargo fmt --manifest-path "$manifest" --check
  done
}

# What the guests are made of: their sources, how they are built, and by which compilers.
guests_key() {
  {
    find examples tests/guests -type f -not -path '*/target/*' -not -path 'examples/prebuilt/*' \
      \( -name '*.rs' -o -name '*.toml' -o -name '*.lock' -o -name '*.sh' -o -name '*.wit' -o -name '*.wat' \) \
      -print0 2>/dev/null | sort -z | xargs -0 sha256sum
    rustc --version
    /usr/bin/rustc --version 2>/dev/null || true
  } | sha256sum | cut -c 1-16
}

# Tests run the guests as their sources are today, not as somebody once built them.
build_guests() {
  local dir=$1 part="$1.part"
  if [[ -d $dir ]]; then echo "built before from the same sources: $dir"; return; fi
  if [[ ! -d $(rustc --print sysroot)/lib/rustlib/wasm32-wasip2/lib ]]; then
    need_packages "the guests are compiled to wasm by Debian's Rust" rustc-web cargo-web rust-web-src wasi-libc lld
  fi
  rm -rf "$part"
  mkdir -p "$part"
  examples/build.sh --out "$part"
  mv "$part" "$dir"
  # Keep the five newest.
  find "$(dirname "$dir")" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' | sort -rn | tail -n +6 | cut -d' ' -f2- |
    xargs -r rm -rf
}

run_tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace --locked --no-fail-fast
  else
    cargo test --workspace --locked --no-fail-fast --lib --bins --tests
  fi
}

document() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked; }

guests_dir=$cache/guests-built/$(guests_key)

step "format" format
step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
step "guests from source" build_guests "$guests_dir"
if [[ -d $guests_dir ]]; then export ONRUSH_GUESTS_DIR=$guests_dir; fi
# Before the tests, and with their features, so that they find the program that they start.
step "build" cargo build --workspace --all-targets --locked
step "tests" run_tests
step "doc tests" cargo test --workspace --doc --locked --no-fail-fast
step "documentation" document
step "compose check" deploy/check-compose.sh "$target/debug/onrush"

printf '\n%d min %d s in all\n' "$((SECONDS / 60))" "$((SECONDS % 60))"
if ((${#failures[@]})); then printf 'failed: %s\n' "${failures[@]}"; fi
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((failed == 0))
