# Traces of experts: recording, q3n-trace, warm starts, on the sample model.

setup_file() {
    export MODEL=$BUILD/samples/q3n-mini-bf16.gguf
    cd "$BATS_FILE_TMPDIR" || exit
    head -c 400 "$BATS_TEST_DIRNAME/../../samples/text/held-out.txt" >text
    # Threads take turns on a busy machine; one is enough here.
    q3n-run -m "$MODEL" -f text -n 40 --ignore-eos --temp 0 -t 1 --trace t.trace \
        --save-history t.history >plain.out 2>/dev/null
}

setup() { cd "$BATS_FILE_TMPDIR" || exit; }

# hits and misses of a run, and of its trace replayed with the same memory
of_run() { grep -oE '"experts_(hits|misses)": [0-9]+' "$1" | grep -oE '[0-9]+$' | tr '\n' ' '; }
of_replay() {
    q3n-trace "$1" --cold --sizes "$2" --policy "$3" --json | python3 -c '
import json, sys
c = json.load(sys.stdin)["caches"][0]
print(c["decode_hits"] + c["prompt_hits"], c["decode_misses"] + c["prompt_misses"], "")'
}

@test "a replay counts what the store counts, prompts included" {
    for policy in lfu lru clock; do
        q3n-run -m "$MODEL" -f text -n 40 --ignore-eos --temp 0 -t 1 -ub 32 --trace r.trace --force \
            --experts-cache 12M --cache-policy $policy --json 2>r.json >r.out
        cmp r.out plain.out
        [ "$(of_run r.json)" = "$(of_replay r.trace 12M $policy)" ]
        [ "$(of_run r.json | cut -d' ' -f1)" -gt 0 ]
    done
}

@test "a history fills the memory before the first token, and changes no text" {
    cold() { q3n-run -m "$MODEL" -f text -n 40 --ignore-eos --temp 0 -t 1 --experts-cache 24M --json "$@"; }
    cold 2>cold.json >cold.out
    cold --history t.history 2>warm.json >warm.out
    cmp cold.out warm.out
    cold --history t.trace 2>trace.json >/dev/null
    [ "$(of_run warm.json)" = "$(of_run trace.json)" ]
    [ "$(of_run warm.json | cut -d' ' -f1)" -gt "$(of_run cold.json | cut -d' ' -f1)" ]
}

@test "a history goes on; the same file is replaced only with --force" {
    cp t.history h
    again() { q3n-run -m "$MODEL" -p "one two" -n 5 --temp 0 -t 1 --experts-cache 24M --history h --save-history h "$@"; }
    run again
    [ "$status" -eq 1 ]
    [[ "$output" == *"there already"* ]]
    again --force >/dev/null 2>&1
    python3 -c '
import struct
a, b = (open(f, "rb").read() for f in ("t.history", "h"))
assert a[:8] == b"Q3NHEATS" and a[:192] == b[:192]
count = lambda x: struct.unpack("<128Q", x[192:])
assert all(p <= q for p, q in zip(count(a), count(b))) and sum(count(a)) < sum(count(b))'
}

@test "a history of another model is refused, and one for mapped experts" {
    cp t.history other
    printf 'x' | dd of=other bs=1 seek=40 conv=notrunc 2>/dev/null
    run q3n-run -m "$MODEL" -p one -n 1 --experts-cache 24M --history other
    [ "$status" -eq 1 ]
    [[ "$output" == *"another model"* ]]
    run q3n-run -m "$MODEL" -p one -n 1 --load-mode mmap --history t.history
    [ "$status" -eq 1 ]
    [[ "$output" == *"no effect on experts that are mapped"* ]]
}

@test "a packed model is the same model" {
    expert-pack "$MODEL" -o packed >/dev/null 2>&1
    q3n-run -m packed.gguf -f text -n 40 --ignore-eos --temp 0 -t 1 --trace p.trace >/dev/null 2>&1
    cmp <(tail -c +257 t.trace) <(tail -c +257 p.trace)
    q3n-run -m packed.gguf -p one -n 1 --experts-cache 24M --history t.history >/dev/null 2>&1
}

@test "tables: what is asked for, in order of size" {
    run q3n-trace t.trace --sizes 8M,16M --policy lru,belady --disk 1.5 --memory 20 --layers
    [ "$status" -eq 0 ]
    [[ "$output" == *"8 layers of 16 experts, 2 used"* ]]
    [[ "$output" == *"Hits while decoding"*"lru %  belady %  lru tok/s  belady tok/s"* ]]
    [[ "$output" != *"Hits of prompts"* ]] # the prompt is in the first half
    [[ "$output" != *clock* ]]
    [ "$(grep -cE '^ *[0-7]  ' <<<"$output")" -eq 8 ]
    run q3n-trace t.trace --cold --sizes 8M --policy lru
    [[ "$output" == *"Hits of prompts"* ]]
}

@test "JSON: belady is best, larger is better" {
    q3n-trace t.trace --json --disk 1 --memory 10 >j
    python3 -c '
import json
j = json.load(open("j"))
assert len(j["layers"]) == 8 and j["decoded_tokens"] == 39 and len(j["model_id"]) == 64
rate = {}
for c in j["caches"]:
    rate.setdefault(c["policy"], []).append((c["decode_hit_rate"], c["tokens_per_second"]))
assert set(rate) == {"lru", "clock", "lfu", "static", "belady"}
for p in ("lru", "clock", "lfu"):
    assert all(a <= b for a, b in zip(rate[p], rate["belady"])), p
assert rate["belady"] == sorted(rate["belady"])'
}

@test "a page, not replaced without --force, not written with --dry-run" {
    q3n-trace t.trace --html dry.html --dry-run >/dev/null
    [ ! -e dry.html ]
    q3n-trace t.trace --html page.html --cold --policy lru,belady --disk 1 --memory 10 >/dev/null
    python3 -c '
import xml.etree.ElementTree as t
n = t.parse("page.html").getroot()
assert len([e for e in n.iter() if e.tag.endswith("svg")]) == 5'
    run q3n-trace t.trace --html page.html
    [ "$status" -eq 1 ]
    q3n-trace t.trace --html page.html --force >/dev/null
}

@test "wrong use and wrong files" {
    usage() { run q3n-trace "$@"; [ "$status" -eq 2 ]; }
    usage
    usage t.trace --policy lru,best
    usage t.trace --sizes 2G,1G
    usage t.trace --sizes 0
    usage t.trace --disk 1
    usage t.trace --disk 0 --memory 1
    usage t.trace --cold --policy static
    usage t.trace --policy lru --ranking t.history
    usage t.trace --force
    usage t.trace --json --layers
    run q3n-trace t.history
    [ "$status" -eq 1 ]
    run q3n-trace text
    [ "$status" -eq 1 ]
    [[ "$output" == *"not a trace"* ]] || [[ "$output" == *"too short"* ]]
    run q3n-run -m "$MODEL" -p one -n 1 --trace t.trace
    [ "$status" -eq 1 ]
}

@test "q3n-eval records prompts" {
    q3n-eval -m "$MODEL" -f text -c 32 --chunks 2 -t 1 --trace e.trace >/dev/null 2>&1
    run q3n-trace e.trace --cold --sizes 12M --policy lru
    [ "$status" -eq 0 ]
    [[ "$output" == *"62 of prompts, 0 decoded"* ]]
}

@test "--plan: sizes, sums and what is expected, without running" {
    run q3n-run -m "$MODEL" --plan --experts-cache 12M -c 256 -t 1
    [ "$status" -eq 0 ]
    [[ "$output" == *"12.00 MiB  memory"*"other experts"*"36.00 MiB  disk"*"tok/s expected"* ]]
    q3n-run -m "$MODEL" --plan --experts-cache 12M -c 256 -t 1 --json >uniform.json
    q3n-run -m "$MODEL" --plan --experts-cache 12M -c 256 -t 1 --json --history t.trace >trace.json
    q3n-run -m "$MODEL" --plan --experts-cache 12M -c 256 -t 1 --json --history t.history >history.json
    q3n-run -m "$MODEL" --plan --load-mode mmap --json -t 1 >mapped.json
    q3n-trace t.trace --sizes 12M --policy lfu --json >rates.json
    python3 -c '
import json
u, t, h, m, r = (json.load(open(f + ".json")) for f in ("uniform", "trace", "history", "mapped", "rates"))
assert u["load_mode"] == "direct" and u["experts_memory"] == 12 << 20 and u["context"] == 256
assert abs(u["hit_rate"] - (12 << 20) / r["expert_bytes"]) < 1e-6
assert abs(t["hit_rate"] - r["caches"][0]["decode_hit_rate"]) < 1e-3
assert h["hit_rate"] > u["hit_rate"]
for p in (u, t, h):
    assert abs(p["token_disk_bytes"] - (1 - p["hit_rate"]) * p["token_expert_bytes"]) < 1
    assert p["disk_gb_s"] > 0 and p["memory_gb_s"] > 0
    assert p["decode_tokens_per_second"] <= 1.001 / max(p["disk_seconds"], p["memory_seconds"] * .5)
    assert p["limited_by"] == ("disk" if p["disk_seconds"] > p["memory_seconds"] else "memory")
assert m["load_mode"] == "mmap" and m["hit_rate"] == 1 and m["disk_gb_s"] == 0'
}

@test "--plan says why a budget does not do, and which would" {
    run q3n-run -m "$MODEL" --plan --ram 20M
    [ "$status" -eq 1 ]
    [[ "$output" == *"are the least that works"* ]]
    run q3n-run -m "$MODEL" --plan --experts-cache 12M --history text
    [ "$status" -eq 1 ]
}

# Text of 20 tokens after a prompt in pieces of 32, with these options; statistics in `json`.
generate() {
    q3n-run -m "$MODEL" -f text -n 20 --ignore-eos --temp 0 -ub 32 --json "$@" 2>json
}

@test "-ot, --cpu-moe, --n-cpu-moe: experts where they should be, the same text" {
    generate -t 2 >plain
    member() { python3 -c 'import json, sys; print(json.load(open("json"))[sys.argv[1]])' "$1"; }
    generate -t 2 --cpu-moe | cmp - plain
    [ "$(member experts_misses)" -eq 0 ]
    generate -t 2 -ncmoe 8 | cmp - plain
    generate -t 2 -ncmoe 999999999 | cmp - plain
    [ "$(member experts_misses)" -eq 0 ]
    for t in 1 2; do
        generate -t $t --n-cpu-moe 3 --experts-cache 24M | cmp - plain
        [ "$(member experts_misses)" -gt 0 ]
        [ "$(member experts_evicted)" -gt 0 ]
    done
    generate -t 1 -ot 'blk\.[0-3]\.ffn_.*_exps=MMAP,exps=DISK' --experts-cache 8M | cmp - plain
    [ "$(member experts_mapped)" -gt 0 ]
    [ "$(member experts_evicted)" -gt 0 ]
    generate -t 1 -ot 'exps=MMAP' | cmp - plain
    [ "$(member experts_memory)" -eq 0 ]
    generate -t 1 -ot 'blk\.7\.ffn_.*_exps=CPU' -ot 'blk\.7\.=CPU' --experts-cache 12M --cache-policy clock | cmp - plain
}

@test "-ot on a pack: the names from before it was packed" {
    expert-pack "$MODEL" -o tiers >/dev/null 2>&1
    generate -t 1 >plain
    q3n-run -m tiers.gguf -f text -n 20 --ignore-eos --temp 0 -ub 32 -t 1 --json -ot 'blk\.0\..*_exps=CPU' -ncmoe 2 \
        --experts-cache 20M 2>/dev/null | cmp - plain
    run q3n-run -m tiers.gguf --plan -ot 'blk\.[0-3]\.ffn_.*_exps=MMAP' --json
    [ "$status" -eq 0 ]
}

@test "places that cannot be, and patterns that match nothing" {
    refused() {
        run q3n-run -m "$MODEL" -p one -n 1 "${@:2}"
        [ "$status" -eq 1 ]
        [[ "$output" == *"$1"* ]]
    }
    refused "must be in one place" -ot gate_exps=CPU
    refused "matches no experts" -ot foo=CPU
    refused "expected REGEX=PLACE" -ot exps=GPU
    refused "only routed experts" -ot '.*=DISK'
    refused "1 or more" -ncmoe -1
    refused "missing closing parenthesis" -ot '(=CPU'
    refused "no effect" -cmoe --load-mode mmap
    refused "no effect" -cmoe --no-mmap
    refused "no effect" -ot exps=MMAP --ram 1G
    refused "are the least that works" -ncmoe 4 --experts-cache 8M
}
