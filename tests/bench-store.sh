#!/usr/bin/env bash
# bench-store.sh BUILD - decoding while memory holds a part of the experts only.
#
# The model has 8 layers of the 80B's shape in Q4_K, 7.3 GiB, random weights; it is made in
# BUILD/bench, packed.  For each of LIMITS="4G 2560M" the process gets that much memory from
# a cgroup (version 1 or 2 where they can be made, else systemd-run; where neither works
# only --ram limits q3n, which is said).  Per limit:
#
#   disk     GB/s of random O_DIRECT reads as long as a record, by as many threads as read
#            experts, measured before and after
#   in RAM   share of the experts used that were in memory, of the runs that are timed
#   bound    tokens/s that the slower of disk and memory allows: the disk's speed over the
#            bytes that were read per token, the memory's over all weight bytes per token;
#            of a prompt the disk's alone
#   reached  tokens/s, and the share of the bound
#
# With LLAMA_BENCH=PATH llama-bench runs the same model unpacked (MODEL=FILE.gguf, or made
# like the other) from its mapping within the same limit, from an empty page cache; the
# ratio is printed.  Builds that repack weights into memory of their own are killed by the
# limit: have one with GGML_CPU_REPACK=OFF.
# PACKED=FILE.gguf takes another packed model.  TOKENS=64, PROMPT=512 (0: none), RUNS=3,
# THREADS=all.
set -euo pipefail
build=$(cd "${1:?build folder}" && pwd)
PATH=$build:$PATH
dir=${DIR:-$build/bench}
tokens=${TOKENS:-64} prompt=${PROMPT:-512} runs=${RUNS:-3} threads=${THREADS:-$(nproc)}
layers=${LAYERS:-8} peer=${LLAMA_BENCH:-}
mkdir -p "$dir"
packed=${PACKED:-$dir/store.gguf} plain=${MODEL:-$dir/store-plain.gguf}
pack=${packed%.gguf}.xpack
[ -e "$pack" ] || gguf-synth --shape qwen3-next-80b --layers "$layers" --type Q4_K \
    "$packed" --pack "$pack" --force
[ -z "$peer" ] || [ -e "$plain" ] ||
    gguf-synth --shape qwen3-next-80b --layers "$layers" --type Q4_K "$plain"

# ---- Memory limits -----------------------------------------------------------
v1=/sys/fs/cgroup/memory v2=/sys/fs/cgroup
group=q3n-bench.$$
kind=none
if mkdir "$v1/$group" 2>/dev/null; then kind=v1 group=$v1/$group
elif grep -qw memory "$v2/cgroup.subtree_control" 2>/dev/null && mkdir "$v2/$group" 2>/dev/null
then kind=v2 group=$v2/$group
elif systemd-run --scope -q -p MemoryMax=1G true 2>/dev/null; then kind=systemd
fi
results=$(mktemp -d)
cleanup() {
    rm -rf "$results"
    case $kind in v1|v2) rmdir "$group" 2>/dev/null || true ;; esac
}
trap cleanup EXIT

limited() { # bytes, command
    local bytes=$1
    shift
    case $kind in
        v1) echo "$bytes" >"$group/memory.limit_in_bytes" ;;
        v2) echo "$bytes" >"$group/memory.max"; echo 0 >"$group/memory.swap.max" || true ;;
        systemd) systemd-run --scope -q -p MemoryMax="$bytes" -p MemorySwapMax=0 "$@"; return ;;
        *) "$@"; return ;;
    esac
    # shellcheck disable=SC2016
    bash -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "$@"
}
forget() { # what the page cache holds
    sync
    echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true
}

# ---- Measuring ---------------------------------------------------------------
disk_speed() { # GB/s of reads as long as a record
    python3 - "$pack" "$record" "${IO_THREADS:-6}" <<'PY'
import mmap, os, random, sys, threading, time
path, size, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
places = os.fstat(fd).st_size // size
got = [0] * threads
def work(i):
    chance, buffer = random.Random(), mmap.mmap(-1, size)
    while time.monotonic() < end:
        got[i] += os.preadv(fd, [buffer], chance.randrange(places) * size)
start = time.monotonic()
end = start + 3
all_threads = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
for t in all_threads: t.start()
for t in all_threads: t.join()
print("%.3f" % (sum(got) / (time.monotonic() - start) / 1e9))
PY
}
row() { # what, disk before, disk after
    python3 - "$results" "$@" <<'PY'
import json, os, sys
folder, what, before, after = sys.argv[1:]
t = json.load(open(folder + "/q3n"))[0]
uses = t["experts_hits"] + t["experts_misses"]
read = t["read_bytes"] / ((t["n_prompt"] + t["n_gen"]) * len(t["samples_ns"]))
disk = (float(before) + float(after)) / 2
by_disk = disk * 1e9 / read if read else float("inf")
by_memory = t["memory_gb_s"] * 1e9 / t["bytes_per_token"] if t["n_gen"] else float("inf")
bound, reached = min(by_disk, by_memory), t["median_ts"]
cells = [what, "%.2f" % disk, "%.1f %%" % (100 * t["experts_hits"] / max(uses, 1)),
         "%.0f MB" % (read / 1e6), "%.2f (%s)" % (bound, "disk" if by_disk < by_memory else "memory"),
         "%.2f" % reached, "%.0f %%" % (100 * reached / bound),
         "%.2f" % t["read_gb_s"], "%.2f GiB" % (t["peak_memory"] / 2**30)]
peer = folder + "/peer"
if os.path.exists(peer) and os.path.getsize(peer):
    text = open(peer).read()
    other = 0 if "killed" in text else json.loads(text)[0]["avg_ts"]
    cells += ["%.2f" % other, "%.1f" % (reached / other)] if other else ["killed", ""]
else:
    cells += ["", ""]
print("| " + " | ".join(cells) + " |", flush=True)
PY
}
measure() { # bytes of memory, options of q3n-bench: before and after are the disk's speeds
    local bytes=$1 limit=()
    shift
    [ "$kind" = none ] && limit=(--ram "$bytes")
    rm -f "$results"/*
    forget
    before=$(disk_speed)
    limited "$bytes" q3n-bench -m "$packed" -t "$threads" -r "$runs" "$@" "${limit[@]}" -o json \
        >"$results/q3n" 2>"$results/log" || { cat "$results/log" >&2; exit 1; }
    after=$(disk_speed)
}

record=$(gguf-inspect --json "$pack" | python3 -c '
import json, sys
print(max(r["stored_bytes"] for r in json.load(sys.stdin)["record_list"]))')
echo "Decoding $tokens tokens or reading a prompt, the median of $runs runs after one to warm up, $threads threads."
[ "$kind" = none ] && echo "No cgroup can be made here: only q3n's --ram limits memory."
echo
echo "| memory | disk GB/s | in RAM | read per token | bound | tok/s | of bound | GB/s while reading | peak RSS | llama.cpp | ratio |"
echo "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
for limit in ${LIMITS:-4G 2560M}; do
    bytes=$(numfmt --from=iec "$limit")
    measure "$bytes" -p 0 -n "$tokens"
    if [ -n "$peer" ]; then
        forget
        limited "$bytes" "$peer" -m "$plain" -t "$threads" -p 0 -n "${PEER_TOKENS:-16}" -r 1 \
            -o json >"$results/peer" 2>"$results/log" || echo killed >"$results/peer"
    fi
    row "$limit" "$before" "$after"
    if [ "$prompt" -gt 0 ]; then
        measure "$bytes" -p "$prompt" -n 0
        row "$limit, prompt of $prompt" "$before" "$after"
    fi
done
