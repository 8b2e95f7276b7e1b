#!/usr/bin/env bash
# Makes the image `onrush:local` from a finished binary. Works where no image can be pulled.
#
#   deploy/image.sh [BINARY]     the default is the release binary of this checkout
#
# The base is, in this order: ONRUSH_BASE_IMAGE, the one of deploy/base-image.sh, debian:bookworm-slim from a registry,
# and, where none answers, deploy/base-image.sh (needs root).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
readonly here root
readonly IMAGE="${ONRUSH_IMAGE:-onrush:local}"
readonly LOCAL_BASE=onrush-base:bookworm
readonly PUBLIC_BASE=debian:bookworm-slim

say() { printf 'image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

have_image() { docker image inspect "$1" >/dev/null 2>&1; }

base() {
  if [[ -n ${ONRUSH_BASE_IMAGE:-} ]]; then echo "$ONRUSH_BASE_IMAGE"; return; fi
  local image
  for image in "$LOCAL_BASE" "$PUBLIC_BASE"; do
    if have_image "$image"; then echo "$image"; return; fi
  done
  if timeout 60 docker pull --quiet "$PUBLIC_BASE" >/dev/null 2>&1; then echo "$PUBLIC_BASE"; return; fi
  say "no registry answers, so the base is made here"
  "$here/base-image.sh" >&2
  echo "$LOCAL_BASE"
}

main() {
  local binary=${1:-${CARGO_TARGET_DIR:-$root/target}/release/onrush}
  [[ -x $binary ]] || die "$binary is no program: build it with 'cargo build --release -p onrush', or name another"
  local from
  from=$(base)

  context=$(mktemp -d)
  trap 'rm -rf "$context"' EXIT
  # Debug information is most of a binary and of no use in the image.
  strip -o "$context/onrush" "$binary" 2>/dev/null || cp "$binary" "$context/onrush"
  chmod 755 "$context/onrush"
  say "building $IMAGE from $binary on $from"
  # The classic builder needs no plug-in and is the one that every Docker still has.
  DOCKER_BUILDKIT=0 docker build --quiet --target prebuilt --build-arg "BASE=$from" \
    -f "$here/Dockerfile" -t "$IMAGE" "$context" >/dev/null 2>"$context/log" || { cat "$context/log" >&2; die "docker build failed"; }
  docker run --rm "$IMAGE" --version >/dev/null 2>"$context/log" ||
    { cat "$context/log" >&2; die "$binary does not run on $from; was it built on a newer system?"; }
  say "made $IMAGE"
}

main "$@"
