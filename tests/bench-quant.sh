#!/usr/bin/env bash
# bench-quant.sh BUILD [TYPE...] - speed of gguf-quant on random BF16 weights of the 80B's
# shapes: one layer with 64 experts, 861 million weights, 1.6 GiB.
#
# For each type: seconds from start to end, millions of weights per second and core (of
# the seconds that cores worked), peak memory, and how many times as fast the encoder is as
# its plain C reference.  With LLAMA_QUANTIZE=PATH that program does the same right after,
# and the ratio of the times is printed.  Outputs go to memory if there is room, so that a
# slow disk does not hide what the programs do; THREADS=2 are used, the model is kept in
# BUILD/bench.
set -euo pipefail
build=$(cd "${1:?build folder}" && pwd)
shift
PATH=$build:$PATH
types=("$@")
[ $# -gt 0 ] || types=(Q8_0 Q4_0 Q4_K Q5_K Q6_K Q3_K Q2_K IQ4_NL IQ4_XS)
threads=${THREADS:-2} peer=${LLAMA_QUANTIZE:-}
dir=$build/bench
mkdir -p "$dir"
model=${MODEL:-$dir/quant-bf16.gguf}
[ -e "$model" ] || gguf-synth --shape qwen3-next-80b --layers 1 --experts 64 --type BF16 "$model"
weights=$(gguf-inspect --json "$model" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["parameters"])')
cat "$model" >/dev/null # into the page cache
out=$(mktemp -d "$dir/out.XXXXXX")
if [ "$(df --output=avail -B1 /dev/shm 2>/dev/null | tail -1)" -gt $((weights * 2)) ]; then
    rmdir "$out"
    out=$(mktemp -d /dev/shm/q3n-bench.XXXXXX)
fi
trap 'rm -rf "$out"' EXIT

# seconds, seconds of all cores, MiB
measure() { # command
    python3 - "$@" <<'PY'
import resource, subprocess, sys, time
start = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
wall = time.monotonic() - start
if done.returncode:
    sys.exit(done.stderr.decode())
u = resource.getrusage(resource.RUSAGE_CHILDREN)
print("%.2f %.2f %.0f" % (wall, u.ru_utime + u.ru_stime, u.ru_maxrss / 1024))
PY
}

# How often the encoder in force is as fast as plain C.
encoder_ratio() { # type
    local name=${1,,}
    name=${name/_k/_K}
    "$build/tests/checkkernels" --bench --test encode --function "encode_$name" |
        awk '$3 == "ok" { for (i = 4; i <= NF; i++) if ($i ~ /x$/) r = $i } END { print r }'
}

printf '%-8s %8s %10s %8s %10s' type s Mw/s/core MiB encoder/C
[ -z "$peer" ] || printf ' %10s %10s %8s %8s' llama.s Mw/s/core MiB ratio
echo
for type in "${types[@]}"; do
    name=${type/_K/_K_S}
    [ "$type" != Q6_K ] && [ "$type" != Q2_K ] || name=$type
    read -r s work mem < <(measure gguf-quant --pure -q -f "$model" "$out/ours" "$name" "$threads")
    awk -v t="$type" -v s="$s" -v c="$work" -v m="$mem" -v w="$weights" \
        -v r="$(encoder_ratio "$type")" \
        'BEGIN { printf "%-8s %8.2f %10.1f %8d %10s", t, s, w / c / 1e6, m, r }'
    if [ -n "$peer" ]; then
        read -r ps pwork pmem < <(measure "$peer" --pure "$model" "$out/theirs" "$name" "$threads")
        awk -v s="$ps" -v c="$pwork" -v m="$pmem" -v w="$weights" -v ours="$s" \
            'BEGIN { printf " %10.2f %10.1f %8d %7.2fx", s, w / c / 1e6, m, s / ours }'
        rm -f "$out/theirs"
    fi
    echo
    rm -f "$out/ours"
done
