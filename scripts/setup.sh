#!/usr/bin/env bash
# Finds what `make test` needs (Go, a C compiler for the race detector, redis-server), and on Debian and Ubuntu
# installs the last two. It starts no service: the tests start their own redis-server on a free port.
# It changes nothing where everything is there, needs no account, and names the fix where it cannot help.
set -euo pipefail
cd "$(dirname "$0")/.."

redis_min=7.0 # streams commands and script flags that the queue relies on

fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# at_least VERSION MINIMUM
at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    # -n: a password prompt would hang a run that nobody watches.
    sudo -n -- "$@"
  fi
}

can_install() {
  command -v apt-get >/dev/null 2>&1 || return 1
  [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; }
}

apt_updated=no
# install WHAT PACKAGE...
install() {
  local what=$1
  shift
  can_install || fail "$what not found, and no way to install it from here.
  Debian, Ubuntu: sudo apt-get install $*
  elsewhere:      put it on PATH and run this again (macOS: brew install redis, xcode-select --install)"
  echo "setup: $what not found, installing: $*"
  if [ "$apt_updated" = no ]; then
    # One unreachable third-party list must not stop the installation of a Debian package.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq || true
    apt_updated=yes
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

go_min=$(awk '$1 == "go" { print $2 }' go.mod go.work samples/go.mod | sort -V | tail -n 1)
command -v go >/dev/null 2>&1 || fail "Go not found; install Go $go_min or newer from https://go.dev/dl/ and put it on PATH"
go_version=$(go env GOVERSION)
go_version=${go_version#go}
go_version=${go_version%%[ -]*}
at_least "$go_version" "$go_min" || fail "Go $go_version is too old; install Go $go_min or newer from https://go.dev/dl/"

# The race detector links C code. Without a compiler go test fails late, and with a message that does not say so.
cc=$(go env CC)
command -v "${cc%% *}" >/dev/null 2>&1 || install "a C compiler" gcc libc6-dev

command -v redis-server >/dev/null 2>&1 || install "redis-server" redis-server
redis_version=$(redis-server --version | sed -n 's/.*v=\([0-9.]*\).*/\1/p')
at_least "$redis_version" "$redis_min" ||
  fail "redis-server $redis_version is too old, $redis_min or newer is needed; see https://redis.io/docs/latest/operate/oss_and_stack/install/"

echo "setup: Go $go_version, C compiler $cc, redis-server $redis_version"
