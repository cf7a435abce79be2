# q3n-imatrix on the sample model.

setup_file() {
    export MODEL=$BUILD/samples/q3n-mini-bf16.gguf TEXT=$BATS_FILE_TMPDIR/text
    cd "$BATS_TEST_DIRNAME/../.." || exit
    head -c 3000 samples/text/calibration.txt >"$TEXT" # 14 chunks of 64 tokens
    # values.py MATRIX: {tensor: array of floats}, by the offsets that gguf-inspect prints
    cat >"$BATS_FILE_TMPDIR/values.py" <<'PY'
import array, json, subprocess
def values(path):
    out = subprocess.run(["gguf-inspect", "--json", path, "-t"],
                         capture_output=True, check=True).stdout
    data, all = open(path, "rb").read(), {}
    for t in json.loads(out)["tensor_list"]:
        a = array.array("f"); a.frombytes(data[t["offset"]:t["offset"] + t["bytes"]])
        all[t["name"]] = a
    return all
PY
    export PYTHONPATH=$BATS_FILE_TMPDIR
    collect -o "$BATS_FILE_TMPDIR/four.gguf" --chunks 4 --show-statistics --json \
        >"$BATS_FILE_TMPDIR/four.json" 2>/dev/null
}

setup() {
    cd "$BATS_TEST_DIRNAME/../.." || exit
    FOUR=$BATS_FILE_TMPDIR/four.gguf
    OUT=$BATS_TEST_TMPDIR/out.gguf
}

collect() { q3n-imatrix -m "$MODEL" -f "$TEXT" -c 64 "$@"; }

# tests/data/imatrix/README.md says how the reference was made.
@test "counts and sums of every column are llama-imatrix's" {
    if [[ $BUILD == */san ]]; then skip "takes minutes with sanitizers"; fi
    zstd -q -d tests/data/imatrix/q3n-mini.gguf.zst -o "$BATS_TEST_TMPDIR/ref.gguf"
    q3n-imatrix -m "$MODEL" -f samples/text/calibration.txt --chunk 22 --chunks 8 \
        --process-output --no-ppl -o "$OUT" 2>/dev/null
    python3 - "$OUT" "$BATS_TEST_TMPDIR/ref.gguf" <<'PY'
import sys
from values import values
own, ref = values(sys.argv[1]), values(sys.argv[2])
extra = {n.split(".weight")[1] for n in own if n not in ref}
assert extra == {".in_sum", ".gated_sum2", ".gated_counts"}, extra
assert len(ref) == 2 * 97
for name, r in ref.items():
    o = own[name]
    assert len(o) == len(r), name
    if name.endswith(".counts"): assert o == r, name
    for a, b in zip(o, r): assert abs(a - b) <= 1e-3 * b, (name, a, b)
PY
    for key in general.type chunk_count chunk_size; do
        [ "$(gguf-inspect -k "$key" "$OUT" --json | grep value)" = \
            "$(gguf-inspect -k "$key" "$BATS_TEST_TMPDIR/ref.gguf" --json | grep value)" ]
    done
}

@test "perplexity is that of q3n-eval" {
    collect -o "$OUT" --chunks 3 >"$BATS_TEST_TMPDIR/p" 2>/dev/null
    grep -q '^\[1\][0-9.]*,\[2\][0-9.]*,\[3\][0-9.]*,$' "$BATS_TEST_TMPDIR/p"
    q3n-eval -m "$MODEL" -f "$TEXT" -c 64 --chunks 3 >"$BATS_TEST_TMPDIR/e" 2>/dev/null
    [ "$(grep Final "$BATS_TEST_TMPDIR/p")" = "$(grep Final "$BATS_TEST_TMPDIR/e")" ]
    [ -z "$(collect -o "$BATS_TEST_TMPDIR/n.gguf" --chunks 3 --no-ppl 2>/dev/null)" ]
    cmp "$OUT" "$BATS_TEST_TMPDIR/n.gguf" # what is collected is the same
}

@test "a run that is continued ends with the same bytes" {
    collect --chunks 3 -o "$BATS_TEST_TMPDIR/three.gguf" >/dev/null 2>&1
    collect --chunks 1 --chunk 3 --in-file "$BATS_TEST_TMPDIR/three.gguf" -o "$OUT" >/dev/null 2>&1
    cmp "$OUT" "$FOUR"
}

@test "threads, --output-frequency and a pack do not change the bytes" {
    collect --chunks 4 -t 1 --output-frequency 1 -o "$OUT" >/dev/null 2>&1
    cmp "$OUT" "$FOUR"
    expert-pack "$MODEL" -o "$BATS_TEST_TMPDIR/packed" 2>/dev/null
    q3n-imatrix -m "$BATS_TEST_TMPDIR/packed.gguf" -f "$TEXT" -c 64 --chunks 4 -o "$OUT" --force >/dev/null 2>&1
    cmp "$OUT" "$FOUR"
}

@test "matrices of two halves add up to the whole" {
    collect --chunks 2 -o "$BATS_TEST_TMPDIR/a.gguf" >/dev/null 2>&1
    collect --chunk 2 --chunks 2 -o "$BATS_TEST_TMPDIR/b.gguf" >/dev/null 2>&1
    q3n-imatrix --in-file "$BATS_TEST_TMPDIR/a.gguf" --in-file "$BATS_TEST_TMPDIR/b.gguf" -o "$OUT"
    python3 - "$OUT" "$FOUR" <<'PY'
import sys
from values import values
sum, whole = values(sys.argv[1]), values(sys.argv[2])
assert sum.keys() == whole.keys()
for name in whole:
    for a, b in zip(sum[name], whole[name]):
        assert a == b if name.endswith(".counts") else abs(a - b) <= 1e-5 * abs(b) + 1e-4, (name, a, b)
PY
    for k in chunk_count chunk_size datasets; do
        [ "$(gguf-inspect -k "$k" "$OUT" --json | grep value)" = "$(gguf-inspect -k "$k" "$FOUR" --json | grep value)" ]
    done
}

@test "the older format, and gguf-quant reads both" {
    q3n-imatrix --in-file "$FOUR" --output-format dat -o "$BATS_TEST_TMPDIR/m.dat"
    for m in "$FOUR" "$BATS_TEST_TMPDIR/m.dat"; do
        run gguf-quant --imatrix "$m" --dry-run "$MODEL" Q2_K
        [ "$status" -eq 0 ]
    done
    # From the older one's means come sums of all tokens.
    q3n-imatrix --in-file "$BATS_TEST_TMPDIR/m.dat" -o "$OUT"
    python3 - "$OUT" "$FOUR" <<'PY'
import sys
from values import values
dat, gguf = values(sys.argv[1]), values(sys.argv[2])
n = "blk.0.attn_qkv.weight"
assert gguf[n + ".counts"][0] == 4 * 64
for a, b in zip(dat[n + ".in_sum2"], gguf[n + ".in_sum2"]):
    assert abs(a / dat[n + ".counts"][0] / (b / 256) - 1) < 1e-5
assert not any(k.endswith(".in_sum") for k in dat)
PY
}

@test "gguf-quant --imatrix-shrink" {
    run gguf-quant --imatrix "$FOUR" --imatrix-shrink --dry-run "$MODEL" Q2_K
    [ "$status" -eq 0 ]
    unseen=$(python3 -c 'import json, sys; print(sum(l["unseen"] for l in json.load(open(sys.argv[1]))["layers"]))' "$BATS_FILE_TMPDIR/four.json")
    [[ $output == *"of 128 experts $unseen saw no token"*"gate and up of 128 drawn"* ]]
    gguf-quant --imatrix "$FOUR" --quiet "$MODEL" "$BATS_TEST_TMPDIR/off.gguf" Q2_K 2
    gguf-quant --imatrix "$FOUR" --imatrix-shrink --quiet "$MODEL" "$BATS_TEST_TMPDIR/on.gguf" Q2_K 1 2>/dev/null
    # Only experts differ.
    run gguf-inspect --diff "$BATS_TEST_TMPDIR/on.gguf" "$BATS_TEST_TMPDIR/off.gguf"
    [ "$status" -eq 1 ]
    [[ $output == *_exps* ]] && [[ $output != *attn_qkv* ]] && [[ $output != *shexp* ]]
    q3n-imatrix --in-file "$FOUR" --output-format dat -o "$BATS_TEST_TMPDIR/m.dat"
    run gguf-quant --imatrix "$BATS_TEST_TMPDIR/m.dat" --imatrix-shrink --dry-run "$MODEL" Q2_K
    [ "$status" -eq 1 ]
    [[ $output == *"no counts of experts"* ]]
    run gguf-quant --imatrix-shrink --dry-run "$MODEL" Q2_K
    [ "$status" -eq 2 ]
}

@test "--process-output adds the output matrix" {
    collect --chunks 1 --process-output --no-ppl -o "$OUT" 2>/dev/null
    gguf-inspect -t '^output' --json "$OUT" | grep -q '"output.weight.counts"'
    run gguf-inspect -t '^output' --json "$FOUR"
    [[ $output != *output.weight* ]]
}

@test "--show-statistics" {
    run q3n-imatrix --in-file "$FOUR" --show-statistics
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 9 ]
    [[ ${lines[0]} == *experts*unseen*median* ]]
    python3 - "$BATS_FILE_TMPDIR/four.json" "$FOUR" <<'PY'
import json, sys
from values import values
s, v = json.load(open(sys.argv[1])), values(sys.argv[2])
assert s["entries"] == 96 and s["chunks"] == 4 and s["chunk_size"] == 64 and s["perplexity"] > 1
for i, l in enumerate(s["layers"]):
    counts = list(v["blk.%d.ffn_gate_exps.weight.counts" % i])
    assert l["layer"] == i and l["counts"] == counts and sum(counts) == 2 * 4 * 64
    counts.sort()
    assert (l["least"], l["median"], l["most"]) == (counts[0], counts[8], counts[15])
    assert l["unseen"] == counts.count(0) and l["below_16"] == sum(0 < c < 16 for c in counts)
    assert abs(l["top_tenth"] - sum(counts[14:]) / 512) < 1e-9
    assert abs(l["lower_half"] - sum(counts[:8]) / 512) < 1e-9
PY
}

@test "--dry-run and an existing output" {
    run collect --dry-run -o "$OUT"
    [ "$status" -eq 0 ] && [ ! -e "$OUT" ]
    [[ $output == *"96 entries"* ]]
    echo mine >"$OUT"
    run collect --chunks 1 -o "$OUT"
    [ "$status" -eq 1 ]
    [[ $output == *--force* ]]
    [ "$(cat "$OUT")" = mine ]
    collect --chunks 1 -o "$OUT" --force >/dev/null 2>&1
    [ "$(head -c 4 "$OUT")" = GGUF ]
}

@test "an interrupted run leaves what it wrote last" {
    q3n-imatrix -m "$MODEL" -f samples/text/calibration.txt -c 64 --output-frequency 1 -o "$OUT" >/dev/null 2>&1 &
    pid=$!
    for _ in $(seq 300); do
        if [ -e "$OUT" ]; then break; fi
        sleep 0.1
    done
    kill -TERM $pid
    run wait $pid
    [ -e "$OUT" ]
    [ "$(find "$BATS_TEST_TMPDIR" -name 'out.gguf*' | wc -l)" -eq 1 ]
    q3n-imatrix --in-file "$OUT" --show-statistics
}

@test "what cannot be done is said in one sentence" {
    failing() { # WORDS ARG...
        words=$1
        shift
        run q3n-imatrix "$@" -o "$OUT"
        [ "$status" -eq 1 ] && [ "${#lines[@]}" -eq 1 ] && [[ $output == q3n-imatrix:*$words* ]] && [ ! -e "$OUT" ]
    }
    failing "GGUF" -m "$TEXT" -f "$TEXT"
    : >"$BATS_TEST_TMPDIR/empty"
    failing "less than a chunk of 64" -m "$MODEL" -f "$BATS_TEST_TMPDIR/empty" -c 64
    head -c 100 "$TEXT" >"$BATS_TEST_TMPDIR/short"
    failing "less than a chunk of 64" -m "$MODEL" -f "$BATS_TEST_TMPDIR/short" -c 64
    failing "cannot open" -m "$MODEL" -f "$BATS_TEST_TMPDIR/none"
    failing "is behind them" -m "$MODEL" -f "$TEXT" -c 64 --chunk 1000
    failing "neither GGUF nor" -m "$MODEL" -f "$TEXT" -c 64 --in-file "$TEXT"
    failing "not an importance matrix" --in-file "$MODEL"
    # a matrix with an entry that the model does not have
    collect --chunks 1 --process-output -o "$BATS_TEST_TMPDIR/more.gguf" >/dev/null 2>&1
    failing "there is no 'output.weight'" -m "$MODEL" -f "$TEXT" -c 64 --in-file "$BATS_TEST_TMPDIR/more.gguf"
}

@test "wrong usage" {
    for args in "" "-f $TEXT" "-m $MODEL" "-m $MODEL -f $TEXT -c 3" "-m $MODEL -f $TEXT --chunks 0" \
        "-m $MODEL -f $TEXT --chunk -1" "-m $MODEL -f $TEXT -ub 0" "-m $MODEL -f $TEXT --json" \
        "-m $MODEL -f $TEXT --output-format csv" "--in-file $FOUR -c 64" "--in-file $FOUR --no-ppl" \
        "--in-file $FOUR --chunks 1" "--in-file $FOUR --show-statistics --force" "-m $MODEL -f $TEXT extra"; do
        # shellcheck disable=SC2086
        run q3n-imatrix $args
        [ "$status" -eq 2 ]
    done
}
