#!/usr/bin/env bash
# bench.sh BUILD - speed on a random-weight model of the 80B's shapes, as ratios to what
# the machine can do in the same minute: memory reads, openssl, cp.
#
# Needs about 8 GB of disk under BUILD and as much memory; LAYERS=2 makes it a quarter.
# What cp and expert-pack write goes to memory (/dev/shm) if there is room, so that a slow
# disk does not hide what they do themselves.
# Figures that only depend on the machine (tok/s, GB/s) change from one to the next; the
# ratios should not.
set -euo pipefail
build=$(cd "${1:?build folder}" && pwd)
PATH=$build:$PATH
dir=$build/bench layers=${LAYERS:-8} runs=${RUNS:-5}
mkdir -p "$dir"
model=$dir/q4k-$layers.gguf
out=$dir

[ -e "$model" ] || gguf-synth --shape qwen3-next-80b --layers "$layers" --type Q4_K "$model"
cat "$model" >/dev/null # into the page cache
size=$(stat -c %s "$model")
[ "$(df --output=avail -B1 /dev/shm 2>/dev/null | tail -1)" -gt $((size + size / 8)) ] &&
    out=$(mktemp -d /dev/shm/q3n-bench.XXXXXX)
trap 'rm -f "$out"/copy "$out"/packed.*; [ "$out" = "$dir" ] || rmdir "$out"' EXIT

seconds() { # of a command, in tenths of milliseconds from bash's clock
    local start=$EPOCHREALTIME
    "$@" >/dev/null 2>&1
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }'
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
# The faster of two runs each: what else runs on the machine only ever slows down.
best() {
    local a b
    a=$(seconds "$@"); b=$(seconds "$@")
    awk -v a="$a" -v b="$b" 'BEGIN { print a < b ? a : b }'
}

echo "## Inference ($layers layers of the 80B's shape, Q4_K)"
q3n-bench -m "$model" -r "$runs"

echo
echo "## Files ($size bytes, cached; outputs in $out)"
t=$(best gguf-inspect "$model")
echo "gguf-inspect                 $t s"
a=$(best gguf-hash --sha256 --no-layer "$model"); b=$(best openssl dgst -sha256 "$model")
echo "gguf-hash --sha256           $a s; openssl dgst -sha256 $b s; ratio $(ratio "$b" "$a")"
a=$(best gguf-hash --sha256 "$model")
echo "  and of every tensor        $a s; ratio $(ratio "$b" "$a")"
b=$(best cp "$model" "$out/copy")
rm -f "$out/copy"
a=$(best expert-pack --force "$model" -o "$out/packed")
echo "expert-pack                  $a s; cp $b s; ratio $(ratio "$b" "$a")"
a=$(best expert-pack --verify "$out/packed.xpack")
echo "expert-pack --verify         $a s"
