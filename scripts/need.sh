#!/usr/bin/env bash
# Brings what the tests and linters need and this machine lacks.
#
#   scripts/need.sh gcc stripe-mock node axe postgres browser webhook golangci-lint
#
# What is there already costs nothing. With CI=true whatever cannot be had is a failure, never a skip.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly stripe_mock_version=v0.203.0
readonly golangci_lint_version=v2.15.0
readonly bin=$PWD/bin

say() { printf 'need: %s\n' "$*" >&2; }

die() {
  say "$@"
  exit 1
}

# apt_install installs Debian packages; the lists are updated at most once in a run.
apt_updated=false
apt_install() {
  if ! $apt_updated; then
    apt-get update -qq
    apt_updated=true
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# has_c says whether C can be compiled, headers included: the race detector is linked with it.
has_c() {
  local cc
  cc=$(go env CC)
  command -v "${cc%% *}" >/dev/null && printf '#include <stdlib.h>\n' | $cc -E - >/dev/null 2>&1
}

need_gcc() {
  has_c && return
  if can_apt; then
    say "installing gcc for the race detector"
    apt_install gcc libc6-dev || say "apt-get could not"
  fi
  has_c || die "the race detector needs a C compiler. Install one:
  Debian, Ubuntu  sudo apt-get install gcc libc6-dev
  Fedora          sudo dnf install gcc glibc-devel
  Alpine          sudo apk add gcc musl-dev
  macOS           xcode-select --install"
}

# has_tool says whether bin/NAME is this version of the module, built with the Go that is in use: a linter built
# with an older Go refuses newer code.
has_tool() { # NAME MODULE VERSION
  [ -x "$bin/$1" ] || return 1
  local built
  built=$(go version -m "$bin/$1" 2>/dev/null) || return 1
  grep -qF "$(go env GOVERSION)" <<<"${built%%$'\n'*}" && grep -qE "^[[:space:]]+mod[[:space:]]+$2[[:space:]]+$3([[:space:]]|\$)" <<<"$built"
}

install_tool() { # NAME MODULE VERSION PACKAGE
  has_tool "$1" "$2" "$3" && return
  say "building $1 $3 into bin/"
  GOBIN=$bin CGO_ENABLED=0 go install "$4@$3"
}

need_stripe_mock() {
  local module=github.com/stripe/stripe-mock
  install_tool stripe-mock $module $stripe_mock_version $module && return
  [ "${CI:-}" = true ] && die "stripe-mock could not be built, and CI must run every test"
  say "stripe-mock could not be built: the tests against Stripe's own mock will be skipped"
}

# has_node says whether there is a Node that the pinned packages run on.
has_node() {
  local version
  version=$(node --version 2>/dev/null) && version=${version#v} && [ "${version%%.*}" -ge 18 ] && command -v npm >/dev/null
}

# has_packages says whether bin/NAME holds what the lock file in FROM names. It is copied there last, so that an
# installation that broke off does not count.
has_packages() { has_node && cmp -s "$2/package-lock.json" "$bin/$1/installed"; } # NAME FROM

install_packages() { # NAME FROM WHAT
  if ! has_node && can_apt; then
    say "installing Node.js for $3"
    apt_install nodejs npm || say "apt-get could not"
  fi
  has_node || return
  say "installing $3 from npm into bin/$1/"
  rm -rf "${bin:?}/$1" && mkdir -p "$bin/$1" && cp "$2"/package*.json "$bin/$1" || return
  (cd "$bin/$1" && npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null) || return
  cp "$2/package-lock.json" "$bin/$1/installed"
}

need_packages() { # NAME FROM WHAT
  has_packages "$1" "$2" && return
  install_packages "$@" && has_packages "$1" "$2" && return
  local why="$3 could not be installed; that wants Node.js 18 or later with npm"
  [ "${CI:-}" = true ] && die "$why, and CI must run every test"
  say "$why: the tests with it will be skipped"
}

need_node() { need_packages node internal/webhook/testdata/node "the senders' own libraries for Node.js"; }

# axe looks for what keeps people out of a page; it runs in the browser.
need_axe() { need_packages axe cmd/usher/testdata/axe axe-core; }

need_golangci_lint() {
  local module=github.com/golangci/golangci-lint/v2
  install_tool golangci-lint $module $golangci_lint_version $module/cmd/golangci-lint ||
    die "golangci-lint $golangci_lint_version could not be built; see https://golangci-lint.run/docs/welcome/install/"
}

# postgres_bin is the folder of Postgres's own programs, which Debian keeps off the path: the newest there is.
postgres_bin() {
  local program
  for program in "${POSTGRES_BIN:-}/initdb" "$(command -v initdb || true)" $(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -rV); do
    [ -x "$program" ] && [ -x "$(dirname "$program")/postgres" ] && dirname "$program" && return
  done
  return 1
}

need_postgres() {
  postgres_bin >/dev/null && return
  if can_apt; then
    say "installing Postgres; the tests start a server of their own"
    # Without a cluster that would run beside the tests for ever.
    mkdir -p /etc/postgresql-common && printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.conf
    apt_install postgresql || say "apt-get could not"
  fi
  postgres_bin >/dev/null && return
  local why="there is no Postgres: install it (Debian, Ubuntu: postgresql; Fedora: postgresql-server; macOS: brew install postgresql), or name the folder of initdb in POSTGRES_BIN"
  [ "${CI:-}" = true ] && die "$why; CI must run every test"
  say "$why; the tests against it will be skipped"
}

# need_webhook brings a peer for the benchmark, which leaves it out where it is not.
need_webhook() {
  command -v webhook >/dev/null && return
  if can_apt; then
    say "installing Debian's webhook, a peer of the benchmark"
    apt_install webhook || say "apt-get could not"
  fi
  command -v webhook >/dev/null || say "there is no webhook (adnanh): the benchmark runs without this peer"
}

# browser_bin is the path of a Chromium or Chrome: CHROMIUM, where it is set, and nothing else then.
browser_bin() {
  local name mac=/Applications
  if [ -n "${CHROMIUM:-}" ]; then
    command -v "$CHROMIUM"
    return
  fi
  for name in chromium chromium-browser google-chrome google-chrome-stable \
    "$mac/Chromium.app/Contents/MacOS/Chromium" "$mac/Google Chrome.app/Contents/MacOS/Google Chrome" "$HOME$mac/Google Chrome.app/Contents/MacOS/Google Chrome"; do
    command -v "$name" && return
  done
  return 1
}

need_browser() {
  browser_bin >/dev/null && return
  if [ -z "${CHROMIUM:-}" ] && can_apt; then
    say "installing Chromium for the tests of the pages"
    apt_install chromium || say "apt-get could not"
  fi
  browser_bin >/dev/null && return
  local why="there is no Chromium: install it (Debian: chromium; Fedora: sudo dnf install chromium; macOS: brew install --cask chromium; Ubuntu: google-chrome, as its chromium is a snap), or name the program in CHROMIUM"
  [ -n "${CHROMIUM:-}" ] && why="CHROMIUM names $CHROMIUM, which is no program"
  [ "${CI:-}" = true ] && die "$why; CI must run every test"
  say "$why; the tests of the pages will be skipped"
}

command -v go >/dev/null || die "Go is missing: https://go.dev/dl/ (go.mod names the version)"
for what in "$@"; do
  case $what in
    gcc) need_gcc ;;
    stripe-mock) need_stripe_mock ;;
    node) need_node ;;
    axe) need_axe ;;
    postgres) need_postgres ;;
    browser) need_browser ;;
    webhook) need_webhook ;;
    postgres-bin) postgres_bin || true ;; # prints the folder
    browser-bin) browser_bin || true ;; # prints the path
    golangci-lint) need_golangci_lint ;;
    *) die "unknown: $what" ;;
  esac
done
