#!/usr/bin/env bash
# bench-gpu.sh BUILD - speed on a CUDA device, next to what its memory, its matrix units
# and the link to it give in the same run.
#
# The model has 8 layers of the 80B's shape in Q4_K, 7.3 GiB, random weights (its routers
# choose all experts about equally often, a trained model's do not: hits in slots are the
# least there can be); it is made in BUILD/bench.  First everything is on the device, then,
# for SHARES="80 50 25" percent of the experts, so much memory that these have slots; then
# experts are with the host.  MODEL=FILE.gguf takes another model, LAYERS=8 another number of
# layers, PROMPTS=512,2048 TOKENS=128 DEPTH=4096 RUNS=5 other tests.
#
# With LLAMA_BENCH=PATH llama-bench runs the model as a whole, and with the experts of as
# many layers at the host (-ncmoe) as makes about the same memory.
set -euo pipefail
build=$(cd "${1:?build folder}" && pwd)
PATH=$build:$PATH
dir=${DIR:-$build/bench}
runs=${RUNS:-5} prompts=${PROMPTS:-512,2048} tokens=${TOKENS:-128} layers=${LAYERS:-8}
shares=${SHARES:-80 50 25} depth=${DEPTH:-4096} peer=${LLAMA_BENCH:-}
mkdir -p "$dir"
model=${MODEL:-$dir/q4k-$layers.gguf}
# The buffers for a prompt: as long as the longest.
ubatch=${prompts##*,}

if ! reason=$(q3n-run -m "$build/samples/q3n-mini-bf16.gguf" --plan -ngl all 2>&1); then
    echo "skipped: $reason"
    exit 0
fi
[ -e "$model" ] ||
    gguf-synth --shape qwen3-next-80b --layers "$layers" --type Q4_K "$model"
cat "$model" >/dev/null # into the page cache

field() { python3 -c 'import json, sys; print(eval("json.load(sys.stdin)" + sys.argv[1]))' "$1"; }
plan() { # member of what --plan says of the whole model on the device
    q3n-run -m "$model" --plan -ngl all -c "$depth" -ub "$ubatch" --json |
        field "[\"device\"][\"$1\"]"
}
# Print a command as a user would type it, and run it.
show() {
    echo
    echo "\`$(basename "$1") ${*:2}\`" | sed "s,$dir/,,g"
    echo
    "$@"
}
bench() { show q3n-bench -m "$model" -p "$prompts" -n "$tokens" -r "$runs" -ub "$ubatch" "$@"; }
peer_bench() {
    [ -z "$peer" ] || show "$peer" -m "$model" -p "$prompts" -n "$tokens" -r "$runs" \
        -ub "$ubatch" -b "$ubatch" -ngl 99 "$@"
}

if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
fi
q3n-bench --version

echo
echo "## All on the device"
if [ "$(plan expert_layers)" -gt 0 ]; then
    bench -ngl all
    show q3n-bench -m "$model" -p 0 -n "$tokens" -r "$runs" -d "$depth" -ngl all
else
    echo "does not fit"
fi
peer_bench

experts=$(gguf-inspect --json "$model" | field '["roles"]["experts"]["bytes"]')
layers=$(gguf-inspect --json "$model" | field '["layers"].__len__()')
all=$(($(plan dense_bytes) + $(plan kv_bytes) + $(plan state_bytes) + $(plan buffer_bytes)))
for share in $shares; do
    bytes=$((all + experts * share / 100))
    echo
    echo "## Slots for $share % of the experts"
    bench -ngl all --vram "$bytes"
    peer_bench -ncmoe $((layers - layers * share / 100))
done

echo
echo "## Experts with the host"
bench -ngl all -cmoe
peer_bench -ncmoe "$layers"
