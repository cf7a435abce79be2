#!/bin/sh
# demo.sh BUILD - the whole pipeline on the sample model: inspect, quantize, pack, run.
# Every command is shown before it runs.  Results lie in BUILD/demo.
set -eu
build=${1:?build folder}
out=$build/demo
mkdir -p "$out"
PATH=$(cd "$build" && pwd):$PATH

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold='\033[1m' plain='\033[0m'; else bold='' plain=''; fi
step() { printf "\n${bold}== %s${plain}\n" "$1"; }
show() { printf "${bold}\$ %s${plain}\n" "$*"; "$@"; }

model=$build/samples/q3n-mini-bf16.gguf
quant=$out/q3n-mini-Q4_K_M.gguf
packed=$out/q3n-mini-packed

step "What is in the model"
show gguf-inspect "$model"
show gguf-inspect --tensors 'blk\.[01]\..*_exps' "$model"

step "Quantize it, guided by an importance matrix"
show gguf-quant -q --force --imatrix samples/q3n-mini.imatrix.gguf "$model" "$quant" Q4_K_M

step "Split it: dense part and experts"
show expert-pack --force "$quant" -o "$packed"
show expert-pack --verify "$packed.xpack"

step "Run it from the pack"
show q3n-run -m "$packed.gguf" -p "And the LORD said unto Moses," -n 64 --temp 0.7 -s 1
show q3n-run -m "$packed.gguf" -p "static int sqlite3VdbeExec(" -n 64 --temp 0

step "What quantization cost (perplexity, lower is better; first 20 windows)"
show q3n-eval -m "$model" -f samples/text/held-out.txt -c 512 --chunks 20
show q3n-eval -m "$packed.gguf" -f samples/text/held-out.txt -c 512 --chunks 20
