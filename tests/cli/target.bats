# gguf-quant --target-size and --target-bpw: sizes, choices, and what bad input gets.

load gguf_image
load refusals

setup_file() {
    export DATA=$PWD/tests/data/quant ROOT=$PWD
    cd "$BATS_FILE_TMPDIR" || exit
    zstd -q -d -o tiny-bf16.gguf "$DATA/tiny-bf16.gguf.zst"
    zstd -q -d -o mini.gguf "$ROOT/samples/q3n-mini-bf16.gguf.zst"
    cp "$DATA"/tiny.imatrix.gguf "$DATA"/lm.imatrix.gguf .
}

setup() {
    IN=$BATS_FILE_TMPDIR
    cd "$BATS_TEST_TMPDIR" || exit
}

mini_target() { gguf-quant --imatrix "$ROOT/samples/q3n-mini.imatrix.gguf" "$@"; }
quick_target() { mini_target --types k "$@"; } # codebooks take ten times as long

@test "--target-size: at most so many bytes, at least 99.9 % of them, for any number of threads" {
    local size
    for size in 18M 15728640; do
        quick_target -q --target-size $size "$IN/mini.gguf" s.gguf 1
        want=$size; [ $size = 18M ] && want=$((18 << 20))
        bytes=$(stat -c %s s.gguf)
        [ "$bytes" -le $want ] && [ $((bytes * 1000)) -ge $((want * 999)) ] || { echo "$bytes"; return 1; }
        gguf-inspect --check s.gguf
        quick_target -q --target-size $size "$IN/mini.gguf" t.gguf AUTO 3
        cmp s.gguf t.gguf
        rm s.gguf t.gguf
    done
}

@test "--target-size with --refine: what is measured is what is written" {
    cost() { quick_target --target-size 14M --dry-run --json "$@" "$IN/mini.gguf" |
        sed -n 's/^ *"\(predicted_error\|cost\)": \([0-9.e+-]*\),*/\2/p' | head -1; }
    plain=$(cost) refined=$(cost --refine 1)
    python3 -c 'import sys; a, b = map(float, sys.argv[1:]); assert 0 < b < 0.99 * a, (a, b)' "$plain" "$refined"
    quick_target -q --target-size 14M --refine 1 "$IN/mini.gguf" s.gguf
    gguf-inspect s.gguf --kv | grep -q '^quantize.q3n.refine .* 1$'
}

@test "--target-size: beyond the largest types all is q8_0" {
    quick_target -q --target-size 1G "$IN/mini.gguf" s.gguf
    gguf-quant -q --pure --imatrix "$ROOT/samples/q3n-mini.imatrix.gguf" "$IN/mini.gguf" t.gguf Q8_0
    [ "$(digests s.gguf)" = "$(digests t.gguf)" ]
}

@test "--target-size: the plan as JSON adds up, and gate is as up" {
    mini_target --target-size 16M --dry-run --json "$IN/mini.gguf" >p.json
    [ ! -e ggml-model-AUTO.gguf ]
    python3 - <<'P'
import json
p = json.load(open("p.json"))
assert p["file_type"] == "AUTO" and p["target_bytes"] == 16 << 20
assert 0.999 * p["target_bytes"] <= p["file_bytes"] <= p["target_bytes"]
chosen = {t["name"]: t for t in p["tensors"] if t["chosen"]}
assert all(0 < t["error"] < 1 and t["error_spread"] >= 0 for t in chosen.values())
assert abs(sum(t["cost"] for t in chosen.values()) - p["cost"]) < 1e-9
assert 0 <= p["dual_gap"] < 0.05 * p["cost"] and p["cost_bound"] <= p["cost"]
assert p["bytes"] == sum(t["bytes"] for t in p["tensors"]) <= p["file_bytes"]
for name, t in chosen.items():
    if "ffn_gate_exps" in name:
        assert t["to"] == chosen[name.replace("gate", "up")]["to"]
assert len({t["to"] for t in chosen.values()}) > 2
P
    quick_target --target-size 16M -q --json "$IN/mini.gguf" s.gguf >p.json
    grep -q "\"file_bytes\": $(stat -c %s s.gguf)" p.json
}

@test "--target-bpw bounds the bits of a weight; --types restricts the choice; demands are kept" {
    mini_target --target-bpw 4.6 --types k --dry-run --json --tensor-type 'blk.2.attn_qkv=q5_0' \
        --token-embedding-type q4_1 "$IN/mini.gguf" >p.json
    python3 - <<'P'
import json
p = json.load(open("p.json"))
assert 4.6 * 0.999 <= p["bits_per_weight"] <= 4.6
to = {t["name"]: t["to"] for t in p["tensors"]}
assert to["blk.2.attn_qkv.weight"] == "q5_0" and to["token_embd.weight"] == "q4_1"
assert not any(t.startswith("iq") for t in to.values())
P
    mini_target --target-bpw 4.6 --types iq --dry-run --json "$IN/mini.gguf" | grep -q '"iq4'
}

@test "--target-size: what cannot be is an error that says what can" {
    run quick_target --target-size 1M "$IN/mini.gguf" s.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"the smallest file that the candidate types and the floors allow has "* ]]
    least=$(sed 's/.* has \([0-9]*\) bytes.*/\1/' <<<"$output")
    quick_target -q --target-size "$least" "$IN/mini.gguf" s.gguf
    [ "$(stat -c %s s.gguf)" -le "$least" ]
    fails_with "more than the target" quick_target -q --target-size $((least - 1)) "$IN/mini.gguf" t.gguf
    fails_with "fewest bits" mini_target -q --target-bpw 1 "$IN/mini.gguf" t.gguf
}

@test "--sens: densities and tables of a file in place of those of the class" {
    type_of() { quick_target --target-bpw 4.6 --dry-run --json --sens f.csv "$IN/mini.gguf" |
        python3 -c 'import json, sys
print(*[t["to"] for t in json.load(sys.stdin)["tensors"] if t["name"] == sys.argv[1]])' "$1"; }
    echo 'blk\.4\.ffn_down_exps,1000' >f.csv
    [ "$(type_of blk.4.ffn_down_exps.weight)" = q8_0 ]
    echo 'blk\.4\.ffn_down_exps,0' >f.csv
    [ "$(type_of blk.4.ffn_down_exps.weight)" = q2_K ]
    printf 'QTYPE,blk.4.ffn_down_exps.weight,blk.5.ffn_down_exps.weight\niq1_m,0.5,1e-6\n' >f.csv
    [ "$(type_of blk.5.ffn_down_exps.weight)" = q2_K ]
    rm f.csv
    fails_with "cannot read f.csv: No such file" quick_target --sens f.csv --target-bpw 4 "$IN/mini.gguf" o.gguf
    printf 'ffn,1\nssm_x,2\n' >f.csv
    fails_with "f.csv, line 2: no tensor of the model matches 'ssm_x'" \
        quick_target -q --sens f.csv --target-bpw 4 "$IN/mini.gguf" o.gguf
    printf 'ffn,-1\n' >f.csv
    fails_with "f.csv, line 1: expected a number from 0 to 1e9, found '-1'" \
        quick_target --sens f.csv --target-bpw 4 "$IN/mini.gguf" o.gguf
}

@test "wrong uses of a target" {
    misused_with "leaves no choice" mini_target --target-size 9M "$IN/mini.gguf" s.gguf Q4_K_M
    misused_with "AUTO needs" gguf-quant "$IN/mini.gguf" s.gguf AUTO
    misused_with "--types needs" gguf-quant --types k "$IN/mini.gguf" s.gguf Q4_K_M
    misused_with "--sens needs" gguf-quant --sens f "$IN/mini.gguf" s.gguf Q4_K_M
    misused_with "expected k, iq or all" mini_target --target-size 9M --types q "$IN/mini.gguf"
    misused_with "exclude each other" mini_target --target-size 9M --target-bpw 4 "$IN/mini.gguf"
    misused_with "--pure has no effect" mini_target --target-size 9M --pure "$IN/mini.gguf"
    misused_with "missing argument" gguf-quant "$IN/mini.gguf"
}

# ---- Bad input ----

# A model whose matrix is $1, for 5 bits a weight.
tiny_target() { gguf-quant -q --imatrix "$1" --target-bpw 5 "$IN/tiny-bf16.gguf" o.gguf; }

@test "a target with the matrix of another model" {
    fails_with "has 64 values for tensor 'blk.0.attn_k.weight', expected 256: it was made from another model" \
        tiny_target "$IN/lm.imatrix.gguf"
    fails_with "no entry for any tensor" gguf-quant --imatrix "$IN/tiny.imatrix.gguf" \
        --include-weights blk --target-bpw 9 --tensor-type blk=bf16 "$IN/tiny-bf16.gguf" o.gguf
}

@test "tensors that the matrix has no entry for get types that need none" {
    gguf-quant -q --imatrix "$IN/tiny.imatrix.gguf" --exclude-weights ffn_ --types iq --target-bpw 4.7 \
        --dry-run --json "$IN/tiny-bf16.gguf" >without.json
    gguf-quant -q --imatrix "$IN/tiny.imatrix.gguf" --types iq --target-bpw 4.7 \
        --dry-run --json "$IN/tiny-bf16.gguf" >with.json
    python3 - <<'P'
import json
needy = {"iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs"}
def types(name): return [t["to"] for t in json.load(open(name))["tensors"] if ".ffn_" in t["name"]]
assert not needy & set(types("without.json")) and needy & set(types("with.json"))
P
    run gguf-quant --imatrix "$IN/tiny.imatrix.gguf" --exclude-weights ffn_down --types k --target-bpw 5 \
        --dry-run "$IN/tiny-bf16.gguf"
    [[ $output == *"3 of the 9 tensors to convert have no entry in the matrix"* ]]
}

@test "a target with sums and counts that cannot be" {
    local at bad
    at=$(($(data_at "$IN/tiny.imatrix.gguf" blk.0.attn_k.weight.in_sum2) + 8))
    for bad in '\xff\xff\xff\x7f' '\x00\x00\x80\x7f' '\x00\x00\x80\xbf'; do # NaN, infinity, -1
        cp "$IN/tiny.imatrix.gguf" bad.gguf
        poke bad.gguf $at "$bad"
        fails_with "value 2 of 'blk.0.attn_k.weight' is " tiny_target bad.gguf
    done
    at=$(data_at "$IN/tiny.imatrix.gguf" blk.0.attn_k.weight.counts)
    for bad in '\xff\xff\xff\x7f' '\x00\x00\x80\xbf'; do
        cp "$IN/tiny.imatrix.gguf" bad.gguf
        poke bad.gguf "$at" "$bad"
        fails_with "count 0 of 'blk.0.attn_k.weight' is " tiny_target bad.gguf
    done
}

@test "a target with counts of zero: alike in all columns, experts that none reached do not count" {
    local at
    cp "$IN/tiny.imatrix.gguf" none.gguf
    poke none.gguf "$(data_at none.gguf blk.0.attn_k.weight.counts)" '\x00\x00\x00\x00'
    tiny_target none.gguf
    gguf-inspect --check o.gguf
    cp "$ROOT/samples/q3n-mini.imatrix.gguf" some.gguf
    at=$(data_at some.gguf blk.0.ffn_down_exps.weight.counts)
    dd if=/dev/zero of=some.gguf bs=4 seek=$((at / 4)) count=12 conv=notrunc status=none
    cp some.gguf all.gguf
    dd if=/dev/zero of=all.gguf bs=4 seek=$((at / 4)) count=16 conv=notrunc status=none
    for m in some all; do
        gguf-quant --imatrix $m.gguf --types k --target-bpw 4.6 --dry-run --json "$IN/mini.gguf" >$m.json
    done
    python3 - <<'P'
import json
def error(name):
    return [t["error"] for t in json.load(open(name))["tensors"] if t["name"] == "blk.0.ffn_down_exps.weight"][0]
assert 0 < error("some.json") < 0.2 and 0 < error("all.json") < 0.2
P
}

@test "a target with NaN in the source, or what overflows" {
    cp "$IN/tiny-bf16.gguf" nan.gguf && cp nan.gguf big.gguf
    poke nan.gguf $(($(data_at nan.gguf blk.0.attn_k.weight) + 2 * 256 * 3 + 2)) '\xc0\x7f'
    fails_with "tensor 'blk.0.attn_k.weight' holds an infinite or NaN value, or one too large" \
        gguf-quant -q --target-bpw 5 nan.gguf out.gguf
    poke big.gguf $(($(data_at big.gguf blk.0.attn_k.weight) + 2 * 256 * 5)) '\x70\x7f'
    fails_with "tensor 'blk.0.attn_k.weight' holds an infinite or NaN value, or one too large" \
        gguf-quant -q --target-bpw 5 big.gguf out.gguf
    head -c 90000 "$IN/tiny-bf16.gguf" >cut.gguf
    fails_with "cut.gguf" gguf-quant -q --target-bpw 5 cut.gguf out.gguf
}

@test "types that are misspelt: one sentence, with those near it" {
    misused_with "there is no tensor type 'q4_k_m'; near it: q4_K" \
        gguf-quant --tensor-type ffn=q4_k_m "$IN/tiny-bf16.gguf" o.gguf Q4_0
    misused_with "--output-tensor-type: there is no tensor type 'iq3s'; near it: iq3_s" \
        gguf-quant --output-tensor-type iq3s "$IN/tiny-bf16.gguf" o.gguf Q4_0
    misused_with "there is no tensor type 'huge'; known are f32 f16 q4_0" \
        gguf-quant --token-embedding-type huge "$IN/tiny-bf16.gguf" o.gguf Q4_0
    misused_with "there is no file type 'Q4_KM'; near it: Q4_K_M" \
        gguf-quant "$IN/tiny-bf16.gguf" o.gguf Q4_KM
    misused_with "there is no file type 'UD-Q4_K'; near it: UD-Q4_K_XL" \
        gguf-quant "$IN/tiny-bf16.gguf" o.gguf UD-Q4_K
    [ "$(ls)" = "" ]
}
