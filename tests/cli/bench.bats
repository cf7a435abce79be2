# q3n-bench: that it measures what was asked for, under llama-bench's names.

setup_file() { export MODEL=$BUILD/samples/q3n-mini-bf16.gguf; }

@test "fields are llama-bench's; lists make all combinations in its order" {
    q3n-bench -m "$MODEL" -p 4,3 -n 2 -pg 5,1 -d 0-9+9 -ctk f16,q8_0 -ctv q4_0 -t 1 -r 2 -ub 2 --ops \
        -o json >"$BATS_TEST_TMPDIR/j"
    python3 -c '
import json, sys
rows = json.load(open(sys.argv[1]))
want = [(k, d, p, n) for k in ("f16", "q8_0") for d in (0, 9) for p, n in ((4, 0), (3, 0), (0, 2), (5, 1))]
assert [(r["type_k"], r["n_depth"], r["n_prompt"], r["n_gen"]) for r in rows] == want
theirs = """cpu_info backends model_filename model_type model_size model_n_params n_ubatch n_threads
    type_k type_v load_mode n_prompt n_gen n_depth test_time avg_ns stddev_ns avg_ts stddev_ts
    samples_ns samples_ts""".split()
for r in rows:
    assert all(name in r for name in theirs)
    assert r["n_ubatch"] == 2 and r["n_threads"] == 1 and r["type_v"] == "q4_0"
    a, b = r["samples_ns"]
    assert abs(r["avg_ns"] - (a + b) / 2) <= 2 and abs(r["median_ns"] - (a + b) / 2) <= 2
    n = r["n_prompt"] + r["n_gen"]
    assert abs(r["samples_ts"][0] * a / 1e9 / n - 1) < 1e-6
    assert abs(r["stddev_ns"] - abs(a - b) / 2 ** 0.5) <= 2
    spent = sum(r["ops_ns"].values()) * n
    assert 0.2 * r["avg_ns"] < spent <= 1.01 * r["avg_ns"], (spent, r)
    assert (r["gb_s"] > 0) == (r["n_prompt"] == 0) and (r["gmac_s"] > 0) == (r["n_gen"] == 0)
    assert r["memory_gb_s"] > 0
' "$BATS_TEST_TMPDIR/j"
}

@test "csv, jsonl and md say the same" {
    q3n-bench -m "$MODEL" -p 2 -n 1 -t 1 -r 1 -o csv --ops >"$BATS_TEST_TMPDIR/c"
    q3n-bench -m "$MODEL" -p 2 -n 1 -t 1 -r 1 -o jsonl --no-warmup >"$BATS_TEST_TMPDIR/l"
    python3 -c '
import csv, json, sys
rows = list(csv.DictReader(open(sys.argv[1])))
lines = [json.loads(x) for x in open(sys.argv[2])]
assert len(rows) == len(lines) == 2
for r, l in zip(rows, lines):
    assert None not in r and not any(v is None for v in r.values())
    for name in ("model_size", "n_prompt", "n_gen", "type_k", "bytes_per_token"):
        assert r[name] == str(l[name]), name
    assert "attention_ns" in r and "ops_ns" not in l
    assert l["type_v"] == "f16" and l["n_ubatch"] == 512
' "$BATS_TEST_TMPDIR/c" "$BATS_TEST_TMPDIR/l"
    run q3n-bench -m "$MODEL" -p 0 -n 1 -d 4 -t 1 -r 1 -ctk q8_0 --ops
    [ "$status" -eq 0 ]
    [[ "$output" == *"| type_k | test |"*"| q8_0 | tg1 @ d4 |"*"| attention |"*"memory read at"* ]]
}

@test "what cannot be measured is an error" {
    for args in "-p 0 -n 0" "-p x" "-p 1," "-p 4-2" "-p 0-8*2" "-n -1" "-pg 3" "-pg 3,0" "-d 1x" "-t 0" "-r 0" \
        "-ctk q6_K" "-ctv f16,," "-o sql" "-p 1-65"; do
        run q3n-bench -m "$MODEL" $args
        [ "$status" -eq 2 ] || { echo "$args: $status $output"; false; }
    done
}

@test "-npl: sequences computed together are a test of their own" {
    q3n-bench -m "$MODEL" -p 0 -n 4 -npl 1,3 -r 1 -o json >"$BATS_TEST_TMPDIR/j" 2>/dev/null
    [ "$(jq -c '[.[].n_parallel]' "$BATS_TEST_TMPDIR/j")" = "[1,3]" ]
    run q3n-bench -m "$MODEL" -p 8 -n 0 -npl 3 -r 1
    [ "$status" -eq 0 ]; [[ "$output" == *"| pp8 x 3 |"* ]]
    run q3n-bench -m "$MODEL" -npl 1000
    [ "$status" -eq 2 ]
}
