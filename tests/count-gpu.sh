#!/usr/bin/env bash
# count-gpu.sh BUILD - what the device code does for a token and for a prompt, counted on the
# machine that runs nvcc's PTX, and how long cards would take for that at least.
#
# The model has 4 layers of the 80B's shape (TYPE=Q4_K), with 64 experts in place of 512, so
# that all are on the device and TOKENS=256 of a prompt give each of them 40.  One token is
# what two tokens take more than one.  Takes a quarter of an hour.
set -euo pipefail
here=$(dirname "$0")
build=$(cd "${1:?build folder}" && pwd)
dir=${DIR:-$build/bench}
type=${TYPE:-Q4_K} tokens=${TOKENS:-256}
mkdir -p "$dir"
model=$dir/count-$type.gguf
[ -e "$model" ] ||
    "$build/gguf-synth" --shape qwen3-next-80b --layers 4 --experts 64 --type "$type" "$model"

count() { # REPORT, and what q3n-bench is to do
    local report=$1
    shift
    rm -f "$report"
    PTX_REPORT=$report "$build/ptx/q3n-bench" -m "$model" -r 1 --no-warmup -ngl all "$@" >/dev/null 2>&1
}
count "$dir/one" -p 0 -n 1
count "$dir/two" -p 0 -n 2
count "$dir/prompt" -p "$tokens" -n 0 -ub "$tokens"
for card in "RTX 3060" "RTX 4090" "H200"; do
    printf '\n## A token, %s\n\n' "$type"
    python3 "$here/gpu/bounds.py" --card "$card" --less "$dir/one" "$dir/two"
    printf '\n## A prompt of %s, %s\n\n' "$tokens" "$type"
    python3 "$here/gpu/bounds.py" --card "$card" "$dir/prompt"
done
