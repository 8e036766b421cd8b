#!/usr/bin/env bash
# Builds and runs the benchmark of the accept stage. Flags are passed on: ./bench/run.sh -rounds 3
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d "${TMPDIR:-/tmp}/usher-bench.XXXXXX")
trap 'rm -rf "$folder"' EXIT
go build -o "$folder/bench" ./bench
"$folder/bench" -folder "$folder" "$@"
