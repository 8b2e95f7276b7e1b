#!/usr/bin/env bash
# Makes the image `onrush-base:bookworm` from Debian packages, for machines that cannot pull images.
# Needs root, debootstrap and Docker. Takes the packages from the mirror that apt on this machine uses.
set -euo pipefail

# shellcheck source=deploy/lib/packages.sh
source "$(dirname "$0")/lib/packages.sh"

readonly TAG="${ONRUSH_BASE_IMAGE:-onrush-base:bookworm}"
readonly SUITE=bookworm
# ip(8) is for the network tests, curl for the health check.
readonly PACKAGES=ca-certificates,curl,iproute2

say() { printf 'base-image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The first Debian mirror that apt knows, in either of its two file formats; the public one otherwise.
mirror() {
  local found
  found=$(sed -n -E \
    -e 's/^deb(-src)?[[:space:]]+(\[[^]]*\][[:space:]]+)?(https?:[^[:space:]]*debian\/?)[[:space:]].*/\3/p' \
    -e 's/^URIs:[[:space:]]*(https?:[^[:space:]]*debian\/?)([[:space:]].*)?$/\1/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1 || true)
  printf '%s' "${ONRUSH_MIRROR:-${found:-http://deb.debian.org/debian}}"
}

# debootstrap reads the proxy from the environment, apt from its own files.
export_apt_proxy() {
  local proxy
  proxy=$(apt-config dump Acquire::http::Proxy 2>/dev/null | sed -n 's/.* "\(.*\)";/\1/p')
  if [[ -n $proxy && -z ${http_proxy:-} ]]; then export http_proxy=$proxy; fi
}

main() {
  if [[ ${1:-} != --force ]] && docker image inspect "$TAG" >/dev/null 2>&1; then
    say "$TAG is there already (--force makes it anew)"
    return
  fi
  [[ $(id -u) == 0 ]] || die "debootstrap needs root: run 'sudo deploy/base-image.sh'"
  command -v debootstrap >/dev/null || need_packages "the base image is made of Debian's packages" debootstrap

  work=$(mktemp -d)
  # A failed debootstrap leaves its mounts behind; --one-file-system keeps `rm` out of them.
  trap 'umount "$work/root/proc" "$work/root/sys" 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
  export_apt_proxy
  say "debootstrap $SUITE from $(mirror), about two minutes"
  debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$work/root" "$(mirror)" >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" "$work/root/debootstrap/debootstrap.log" >&2 2>/dev/null; die "debootstrap failed"; }
  rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/* \
    "$work"/root/usr/share/{doc,man,locale}/*
  tar -C "$work/root" --one-file-system -c . | docker import --change 'CMD ["/bin/bash"]' - "$TAG" >/dev/null
  say "made $TAG"
}

main "$@"
