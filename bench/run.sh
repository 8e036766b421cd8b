#!/usr/bin/env bash
# Builds and runs the benchmark, then measures verifying and reading a request of each family of senders. Flags are passed
# on to the first: ./bench/run.sh -quick -only burst,journal
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/need.sh postgres webhook
folder=$(mktemp -d "${TMPDIR:-/tmp}/usher-bench.XXXXXX")
trap 'rm -rf "$folder"' EXIT
go build -o "$folder/bench" ./bench
"$folder/bench" "$@"
[[ " $* " == *" -only "* || " $* " == *" -list "* ]] && exit

echo
echo "verifying and reading one 3 KB request, median of ${COUNT:=7} rounds (lowest–highest of the ratio)"
go test ./internal/webhook -run '^$' -bench '^BenchmarkVerify$' -benchtime 300ms -count "$COUNT" | awk -f bench/families.awk
