#!/usr/bin/env bash
# Builds and runs the benchmark of the accept stage, then measures verifying and reading a request of each family
# of senders. Flags are passed on to the first: ./bench/run.sh -rounds 3
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d "${TMPDIR:-/tmp}/usher-bench.XXXXXX")
trap 'rm -rf "$folder"' EXIT
go build -o "$folder/bench" ./bench
"$folder/bench" -folder "$folder" "$@"

echo
echo "verifying and reading one 3 KB request, median of ${COUNT:=7} rounds (lowest–highest of the ratio)"
go test ./internal/webhook -run '^$' -bench '^BenchmarkVerify$' -benchtime 300ms -count "$COUNT" | awk -f bench/families.awk
