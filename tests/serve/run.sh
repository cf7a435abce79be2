#!/usr/bin/env bash
# run.sh - tests of q3n-serve on the sample model that want more than `make check` has.
#
#   tests/serve/run.sh BUILD openai          OpenAI's Python client; PYTHON names another python3
#   tests/serve/run.sh BUILD load [SECONDS]  CLIENTS (64) at once; 60 seconds
#   tests/serve/run.sh BUILD slow            headers a byte at a time, half a minute
#   tests/serve/run.sh BUILD turn [TOKENS]   what a second turn costs; MODEL names another model,
#                                            which must have a tokenizer
set -eu
build=$1 what=$2 python=${PYTHON:-python3}
cd "$(dirname "$0")"
log=$(mktemp); trap 'rm -f "$log"; [ -z "$pid" ] || kill "$pid" 2>/dev/null || true' EXIT
case $build in /*) ;; *) build=../../$build ;; esac

start() {
    "$build/q3n-serve" -m "$build/samples/q3n-mini-bf16.gguf" --port 0 "$@" 2>"$log" &
    pid=$!
    for _ in $(seq 200); do grep -q ready "$log" && break; sleep 0.05; done
    url=$(sed -n 's/.*listening on //p' "$log")
}

pid=
case $what in
openai)
    "$python" -c 'import openai' 2>/dev/null || { echo "SKIP: $python has no openai package"; exit 0; }
    start -np 3 -c 3072 --api-key secret
    "$python" openai_client.py "$url" ;;
load)
    start -np 16
    python3 load.py "$url" "$pid" "${3:-60}" "${CLIENTS:-64}" ;;
slow)
    start -np 3 -c 3072
    python3 hostile.py "$url" --slow ;;
turn)
    python3 turn.py "$build/q3n-serve" "${MODEL:-$build/samples/q3n-mini-bf16.gguf}" "${3:-16384}" ;;
*) echo "run.sh: no test '$what'"; exit 2 ;;
esac
[ -z "$pid" ] || { kill "$pid"; wait "$pid"; }
