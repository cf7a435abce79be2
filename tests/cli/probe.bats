# gguf-quant --probe: the model run with tensors in coarse types, and what is predicted.

setup_file() {
    export ROOT=$PWD
    cd "$BATS_FILE_TMPDIR" || exit
    zstd -q -d -o mini.gguf "$ROOT/samples/q3n-mini-bf16.gguf.zst"
    gguf-synth --shape tiny --layers 2 --type BF16 --vocab-from mini.gguf tiny.gguf
}

setup() {
    TINY=$BATS_FILE_TMPDIR/tiny.gguf TEXT=$ROOT/samples/text/calibration.txt
    cd "$BATS_TEST_TMPDIR" || exit
}

fails() { # CODE MESSAGE COMMAND...
    local want=$1 message=$2 status=0
    shift 2
    "$@" >out 2>err || status=$?
    [ "$status" = "$want" ] || { cat out err; return 1; }
    grep -q -- "$message" err || { cat err; return 1; }
}

@test "a probed plan: an interval, the same with any threads, nothing left behind" {
    mkdir tmp
    for threads in 1 2; do
        TMPDIR=tmp gguf-quant --probe "$TEXT" --probe-chunks 2 --target-bpw 5 --dry-run \
            --probe-out "$threads.probe" --json "$TINY" AUTO "$threads" >"$threads.json" 2>err
    done
    cp 1.probe "$BATS_FILE_TMPDIR/kept.probe"
    cp 1.json "$BATS_FILE_TMPDIR/first.json"
    diff <(grep -v '^probe' 1.probe) <(grep -v '^probe' 2.probe)
    [ -z "$(ls tmp)" ]
    python3 - <<'P'
import json
one, two = (json.load(open(f)) for f in ("1.json", "2.json"))
for p in one, two:
    for key in "seconds", "time": p.pop(key, None)
    del p["predicted_kld"]["seconds"]
assert one == two
k = one["predicted_kld"]
assert k["probed"] and 0 < k["low"] < k["mean"] < k["high"]
assert k["kinds"] == 13 and k["plans"] >= 5 and k["tokens"] == 1024
P
}

@test "what a probe found serves other plans; a target is always predicted" {
    cp "$BATS_FILE_TMPDIR"/{kept.probe,first.json} .
    gguf-quant --probe-in kept.probe --dry-run -q "$TINY" Q4_0 >out
    grep -q '^predicted KLD = 0\.[0-9]* (0\.[0-9]* to 0\.[0-9]*), on text like' out
    gguf-quant --probe-in kept.probe --target-bpw 5 --dry-run --json "$TINY" >again.json
    gguf-quant --target-bpw 5 --dry-run -q "$TINY" >out
    grep -q '^predicted KLD = .* published of other models' out
    gguf-quant --dry-run "$TINY" Q4_0 >out
    [ -z "$(grep predicted out)" ]
    python3 - <<'P'
import json
again, first = (json.load(open(f)) for f in ("again.json", "first.json"))
for a, b in zip(again["tensors"], first["tensors"]):
    assert a["name"] == b["name"] and a["to"] == b["to"]
for key in "mean", "low", "high":
    a, b = again["predicted_kld"][key], first["predicted_kld"][key]
    assert abs(a / b - 1) < 0.01, (key, a, b)
assert again["predicted_kld"]["probed"] and again["predicted_kld"]["kinds"] == 13
P
}

@test "files that are no probe of this model" {
    local kept=$BATS_FILE_TMPDIR/kept.probe
    bad() { # MESSAGE SED
        sed "$2" "$kept" >bad.probe
        fails 1 "$1" gguf-quant --probe-in bad.probe --dry-run "$TINY" Q4_0
    }
    bad "line 1: expected 'q3n-probe 1'" 1d
    bad "line 2: it is of another model" '2s/.*/elements 5/'
    bad "line 3: expected 'curve" '3s/.*/curve nan 1 2/'
    bad "it is no probe" 3d
    bad "line 5: the model has no such tensor" '5s/.*/weight blk.9.x.weight 1/'
    bad "line 5: expected 'weight" '5s/.*/weight output.weight -1/'
    bad "line 6: there is no such type" '6s/.*/error output.weight q9_9 1 0/'
    bad "line 6: expected 'error" '6s/.*/error output.weight q4_0 inf 0/'
    bad "line 7: expected curve" '7s/.*/something else/'
    fails 2 "exclude each other" gguf-quant --probe "$TEXT" --probe-in x "$TINY" Q4_0
    fails 2 "needs --probe" gguf-quant --probe-out x "$TINY" Q4_0
}

@test "probes that cannot be" {
    fails 2 "needs --probe" gguf-quant --probe-chunks 3 "$TINY" Q4_0
    fails 2 "2 or more" gguf-quant --probe "$TEXT" --probe-chunks 1 "$TINY" Q4_0
    fails 2 "exclude each other" gguf-quant --probe "$TEXT" --prune-layers 1 "$TINY" Q4_0
    fails 2 "no effect with COPY" gguf-quant --probe "$TEXT" "$TINY" COPY
    fails 1 "nowhere" gguf-quant --probe nowhere.txt --dry-run "$TINY" Q4_0
    echo "Too short." >short.txt
    fails 1 "a probe needs two windows" gguf-quant --probe short.txt "$TINY" Q4_0
    TMPDIR=nowhere fails 1 "no room .* in nowhere" \
        gguf-quant --probe "$TEXT" --dry-run "$TINY" Q4_0
    [ ! -e ggml-model-Q4_0.gguf ]
}
