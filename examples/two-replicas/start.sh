#!/usr/bin/env bash
# A limiter, two vMCP replicas that share it, and a small backend. Ends all of them with Ctrl-C.
# With REDIS_URL set the limiter keeps its buckets there; without, in memory.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
cargo build --quiet -p toolgate -p vmcp --bins --examples
bin=${CARGO_TARGET_DIR:-target}/debug

trap 'trap - EXIT; kill $(jobs -p) 2>/dev/null; wait' EXIT
trap 'exit 0' INT TERM
"$bin/examples/backend" 127.0.0.1:4490 &
"$bin/toolgate" serve --policies "$here/policy.yaml" --store "${REDIS_URL:-memory}" &
"$bin/vmcp" serve --config "$here/vmcp-1.yaml" &
"$bin/vmcp" serve --config "$here/vmcp-2.yaml" &
wait -n
