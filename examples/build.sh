#!/usr/bin/env bash
# Builds the guests from source into wasm components.
#
#   examples/build.sh [--out DIR] [NAME...]     all guests, or the named ones, into the folder "prebuilt" beside them,
#                                               or into DIR
#
# Two ways, the first that works:
#   1. a Rust whose wasm32-wasip2 target is installed (`rustup target add wasm32-wasip2`);
#   2. Debian's own Rust, which compiles the standard library from its source:
#      apt-get install -y --no-install-recommends rustc-web cargo-web rust-web-src wasi-libc lld
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
out=
names=()

say() { printf 'guests: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

while (($#)); do
  case $1 in
    --out) [[ $# -ge 2 ]] || die "--out needs a folder"; mkdir -p "$2"; out=$(cd "$2" && pwd); shift 2 ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) die "unknown option $1; see --help" ;;
    *) names+=("$1"); shift ;;
  esac
done

# Where a guest's source is: an example, or one of the guests that only tests use.
folder_of() {
  local dir
  for dir in "$here/$1" "$root/tests/guests/$1"; do
    [[ -f $dir/Cargo.toml ]] && { echo "$dir"; return; }
  done
  die "no guest is called '$1'; there are: $(all_names | tr '\n' ' ')"
}

all_names() {
  local manifest
  for manifest in "$here"/*/Cargo.toml "$root"/tests/guests/*/Cargo.toml; do
    [[ -f $manifest ]] && basename "$(dirname "$manifest")"
  done
}

((${#names[@]})) || mapfile -t names < <(all_names)
target=${ONRUSH_GUEST_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/onrush/guests}
mkdir -p "$target"

# Paths of this machine must not end up in the components, so that two machines build the same bytes.
remap="--remap-path-prefix=$root=/onrush --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
unset RUSTC RUSTC_BOOTSTRAP RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET RUSTUP_TOOLCHAIN
cargo=(cargo) extra=()

linker() {
  command -v wasm-component-ld >/dev/null && return
  local tools=$target/tools
  if [[ ! -x $tools/bin/wasm-component-ld ]]; then
    say "installing the linker wasm-component-ld into $tools (about 3 minutes)"
    CARGO_TARGET_DIR=$target/tools-build cargo install --quiet --locked --root "$tools" wasm-component-ld@0.5.31 ||
      die "the linker could not be installed; 'cargo install wasm-component-ld' shows why"
  fi
  export PATH=$tools/bin:$PATH
}

if command -v rustc >/dev/null && [[ -d $(rustc --print sysroot)/lib/rustlib/wasm32-wasip2/lib ]]; then
  say "using $(rustc --version) and its wasm32-wasip2 target"
elif [[ -x /usr/bin/cargo && -d /usr/lib/wasm32-wasi ]] && [[ -d $(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library ]]; then
  say "using $(/usr/bin/rustc --version) of Debian; the standard library is compiled too"
  linker
  cargo=(/usr/bin/cargo) extra=(-Zbuild-std=std,panic_abort)
  remap+=" -L native=/usr/lib/wasm32-wasi"
  export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
else
  die "no Rust here can compile to wasm. Either 'rustup target add wasm32-wasip2',
or on Debian: apt-get install -y --no-install-recommends rustc-web cargo-web rust-web-src wasi-libc lld"
fi

for name in "${names[@]}"; do
  dir=$(folder_of "$name")
  flags=$remap
  # Pictures gain a lot from SIMD, which every engine has; the others would not use it.
  [[ $name == image ]] && flags+=" -C target-feature=+simd128"
  say "building $name"
  # Its own .cargo/config.toml may choose a leaner target.
  triple=$(sed -n 's/^target = "\(.*\)"/\1/p' "$dir/.cargo/config.toml" 2>/dev/null | head -1) || triple=
  triple=${triple:-wasm32-wasip2}
  (cd "$dir" && RUSTFLAGS=$flags CARGO_TARGET_DIR=$target \
    "${cargo[@]}" build --quiet --locked --release --target "$triple" ${extra[@]+"${extra[@]}"})
  package=$(sed -n 's/^name = "\(.*\)"/\1/p' "$dir/Cargo.toml" | head -1)
  built=$target/$triple/release/${package//-/_}.wasm
  to=${out:-$(dirname "$dir")/prebuilt}
  mkdir -p "$to"
  install -m 644 "$built" "$to/$name.wasm"
  say "$to/$name.wasm: $(stat -c %s "$to/$name.wasm") bytes"
done
