# shellcheck shell=bash
# Sourced by `x`: installs Debian packages that are missing, says which and why, and asks for nothing else.

# need_packages WHY PACKAGE...
need_packages() {
  local why=$1 package missing=()
  shift
  if ! command -v dpkg-query >/dev/null; then
    printf 'x: no Debian here; make sure that these are installed (%s): %s\n' "$why" "$*" >&2
    return
  fi
  for package in "$@"; do
    # shellcheck disable=SC2016 # dpkg's own variable
    [[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  local command="apt-get install -y --no-install-recommends ${missing[*]}"
  if [[ $(id -u) != 0 ]]; then
    printf 'x: missing packages (%s). Run: sudo %s\n' "$why" "$command" >&2
    exit 1
  fi
  printf 'x: %s, so: %s\n' "$why" "$command" >&2
  # The package lists of a fresh image are empty or old.
  DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  # shellcheck disable=SC2086 # words on purpose
  DEBIAN_FRONTEND=noninteractive $command -qq >/dev/null </dev/null
}
