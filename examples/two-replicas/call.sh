#!/usr/bin/env bash
# Calls one tool six times, through both replicas in turn: five pass, the sixth is denied.
set -euo pipefail
for turn in 1 2 3 4 5 6; do
  port=$((4483 + turn % 2))
  printf 'call %s, port %s: ' "$turn" "$port"
  curl --silent --show-error "http://127.0.0.1:$port/mcp" \
    --header 'content-type: application/json' \
    --header 'accept: application/json, text/event-stream' \
    --data '{"jsonrpc":"2.0","id":'"$turn"',"method":"tools/call","params":{"name":"counter_echo"}}'
  echo
done
