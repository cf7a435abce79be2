#!/usr/bin/env bash
# bench-quant.sh BUILD [TYPE...] - speed of gguf-quant on random BF16 weights of the 80B's
# shapes: one layer with 8 experts and few words, 66 million weights, 127 MiB.  MODEL=FILE
# takes another, such as one layer with all words and 64 experts (861 million weights):
#   gguf-synth --shape qwen3-next-80b --layers 1 --experts 64 --type BF16 FILE
#
# For each type: seconds from start to end, millions of weights per second and core (of
# the seconds that cores worked), peak memory, and how many times as fast the encoder is as
# its plain C reference.  IQ1 to IQ3 are weighted by a random importance matrix, which
# llama-quantize asks for.  With LLAMA_QUANTIZE=PATH that program does the same right
# after; the ratios of seconds and of weights per second and core are printed, and whether
# both wrote the same file.  Outputs go to memory if there is room, so that a slow disk
# does not hide what the programs do; THREADS=2 are used, the model is kept in BUILD/bench.
#
# Then Q8_0 and Q4_0 from a file that is not in the page cache to a file on its disk,
# against plainly reading the one and writing the other (dd, synced): medians of ROUNDS=3,
# and the share of the disk's speed that was reached, above 100 % where reading and
# writing overlap.
set -euo pipefail
build=$(cd "${1:?build folder}" && pwd)
shift
PATH=$build:$PATH
types=("$@")
[ $# -gt 0 ] || types=(Q8_0 Q4_0 Q4_K Q5_K Q6_K Q3_K Q2_K IQ4_NL IQ4_XS
    IQ3_S IQ3_XXS IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S)
threads=${THREADS:-2} peer=${LLAMA_QUANTIZE:-} rounds=${ROUNDS:-3}
dir=$build/bench
mkdir -p "$dir"
model=${MODEL:-$dir/quant-small-bf16.gguf}
[ -e "$model" ] || gguf-synth --shape qwen3-next-80b --layers 1 --experts 8 --experts-used 4 \
    --vocab 1024 --type BF16 "$model"
weights=$(gguf-inspect --json "$model" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["parameters"])')
cat "$model" >/dev/null # into the page cache
on_disk=$(mktemp -d "$(dirname "$model")/out.XXXXXX") out=$on_disk
trap 'rm -rf "$out" "$on_disk"' EXIT
[ "$(df --output=avail -B1 /dev/shm 2>/dev/null | tail -1)" -le $((weights * 3)) ] ||
    out=$(mktemp -d /dev/shm/q3n-bench.XXXXXX)

# An importance matrix in the older format, with numbers for every matrix.
random_imatrix() { # file
    gguf-inspect --tensors --json "$model" | python3 -c '
import array, json, random, struct, sys
random.seed(1)
some = [random.expovariate(10) + 0.001 for _ in range(1 << 16)]
tensors = [t for t in json.load(sys.stdin)["tensor_list"] if len(t["shape"]) > 1]
with open(sys.argv[1], "wb") as f:
    f.write(struct.pack("<i", len(tensors)))
    for t in tensors:
        name, columns = t["name"].encode(), t["shape"][0] * (t["shape"] + [1])[2]
        values = array.array("f", (some * (columns // len(some) + 1))[:columns])
        f.write(struct.pack("<i", len(name)) + name + struct.pack("<ii", 1, columns))
        f.write(values.tobytes())
' "$1"
}

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
    [[ $1 != IQ[123]* ]] || name+=_weighted
    "$build/tests/checkkernels" --bench --test encode --function "encode_$name" |
        awk '$3 == "ok" { for (i = 4; i <= NF; i++) if ($i ~ /x$/) r = $i } END { print r }'
}

# A type's file type, and what it needs.
arguments() { # type
    file_type=${1/_K/_K_S} matrix=()
    [ "$1" != Q6_K ] && [ "$1" != Q2_K ] || file_type=$1
    [ "$1" != IQ2_S ] || file_type=IQ2_M # the file type IQ2_S is made of IQ2_XS
    [[ $1 != IQ[123]* ]] || matrix=(--imatrix "$out/imatrix.dat")
}

bench_type() { # type
    local s work mem ps pwork pmem same=no
    arguments "$1"
    read -r s work mem < <(measure gguf-quant "${matrix[@]}" --pure -q -f "$model" \
        "$out/ours" "$file_type" "$threads")
    awk -v t="$1" -v s="$s" -v c="$work" -v m="$mem" -v w="$weights" \
        -v r="$(encoder_ratio "$1")" \
        'BEGIN { printf "%-8s %8.2f %10.1f %6d %10s", t, s, w / c / 1e6, m, r }'
    if [ -n "$peer" ]; then
        read -r ps pwork pmem < <(measure "$peer" "${matrix[@]}" --pure "$model" \
            "$out/theirs" "$file_type" "$threads")
        ! cmp -s "$out/ours" "$out/theirs" || same=yes
        awk -v s="$ps" -v c="$pwork" -v m="$pmem" -v w="$weights" -v ours="$s" \
            -v mine="$work" -v same="$same" 'BEGIN {
                printf " %8.2f %10.1f %6d %7.1fx %8.1fx %5s", s, w / c / 1e6, m, s / ours,
                    c / mine, same }'
        rm -f "$out/theirs"
    fi
    echo
    rm -f "$out/ours"
}

forget() { # file: out of the page cache
    sync "$1"
    dd if="$1" iflag=nocache count=0 status=none
}

# Seconds of: gguf-quant, reading its source, writing its output.
disk_round() { # file type
    local s read write rest
    forget "$model"
    read -r s rest < <(measure gguf-quant --pure -q -f "$model" "$on_disk/ours" "$1" "$threads")
    forget "$model"
    read -r read rest < <(measure dd if="$model" of=/dev/null bs=4M)
    cat "$on_disk/ours" >/dev/null
    read -r write rest < <(measure dd if="$on_disk/ours" of="$on_disk/copy" bs=4M conv=fsync)
    rm -f "$on_disk/ours" "$on_disk/copy"
    echo "$s $read $write"
}

bench_disk() { # type
    for ((i = 0; i < rounds; i++)); do disk_round "$1"; done | python3 -c '
import statistics, sys
rows = [[float(f) for f in line.split()] for line in sys.stdin]
s, read, write = (statistics.median(c) for c in zip(*rows))
print("%-8s %8.2f %8.2f %8.2f %7.0f%%" % (sys.argv[1], s, read, write,
                                          100 * (read + write) / s))' "$1"
}

random_imatrix "$out/imatrix.dat"
printf '%-8s %8s %10s %6s %10s' type s Mw/s/core MiB encoder/C
[ -z "$peer" ] || printf ' %8s %10s %6s %8s %9s %5s' llama.s Mw/s/core MiB ratio of.cores same
echo
for type in "${types[@]}"; do bench_type "$type"; done
printf '\n%-8s %8s %8s %8s %8s\n' disk s read.s write.s share
for type in Q8_0 Q4_0; do bench_disk "$type"; done
