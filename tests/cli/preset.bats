# gguf-quant: presets named for Unsloth's dynamic files.

setup_file() {
    export DATA=$PWD/tests/data/quant ROOT=$PWD
    cd "$BATS_FILE_TMPDIR" || exit
    zstd -q -d -o moe.gguf "$DATA/moe-bf16.gguf.zst"
    zstd -q -d -o mini.gguf "$ROOT/samples/q3n-mini-bf16.gguf.zst"
}

setup() {
    IN=$BATS_FILE_TMPDIR MATRIX=$ROOT/samples/q3n-mini.imatrix.gguf
    cd "$BATS_TEST_TMPDIR" || exit
}

digests() { gguf-hash --sha256 "$1" | sed -n "s|^sha256 *\([0-9a-f]*\)  $1:|\1  |p"; }
types() { gguf-inspect "$1" --json --tensors "$2" | sed -n 's/ *"type": "\(.*\)",*/\1/p' | xargs; }

@test "a preset writes its types, says its file type, names the output" {
    cp "$IN/mini.gguf" in.gguf
    gguf-quant -q --imatrix "$MATRIX" in.gguf UD-Q4_K_XL
    mv ggml-model-UD-Q4_K_XL.gguf out.gguf
    # Outliers of a model with 8 layers: 1, and for down 4 and 7 as well.
    [ "$(types out.gguf ffn_down_exps)" = "q5_K q8_0 q5_K q5_K q8_0 q5_K q5_K q8_0" ]
    [ "$(types out.gguf ffn_gate_exps)" = "q4_K q5_K q4_K q4_K q4_K q4_K q4_K q4_K" ]
    [ "$(types out.gguf ffn_up_exps)" = "$(types out.gguf ffn_gate_exps)" ]
    [ "$(types out.gguf 'attn_(qkv|q|k|v|gate|output)\.|ssm_(out|ba)|_shexp\.|token_embd|^output\.' |
        tr ' ' '\n' | sort -u | xargs)" = "f32 q8_0" ]
    gguf-inspect out.gguf --kv | grep -q '^general.file_type *u32 *15'
    gguf-inspect --check out.gguf
}

@test "demands go before a preset; the JSON names it" {
    gguf-quant --dry-run --json --tensor-type ffn_up=q6_K --output-tensor-type q5_K \
        --imatrix "$MATRIX" "$IN/mini.gguf" ud-iq2_xxs >p.json
    python3 - <<'P'
import json
p = json.load(open("p.json"))
assert p["file_type"] == "UD-IQ2_XXS"
to = {t["name"]: t["to"] for t in p["tensors"]}
assert to["blk.1.ffn_up_exps.weight"] == "q6_K" and to["output.weight"] == "q5_K"
assert to["blk.1.ffn_gate_exps.weight"] == "iq2_xs"
assert to["blk.2.ffn_gate_exps.weight"] == "iq2_xxs"
assert to["blk.0.ffn_gate_inp.weight"] == "f32"
P
}

@test "presets need a matrix where their types do" {
    run gguf-quant -q "$IN/mini.gguf" out.gguf UD-IQ2_M
    [ "$status" -eq 1 ]
    [[ $output == *"needs an importance matrix to become iq"* ]]
    gguf-quant -q "$IN/moe.gguf" out.gguf UD-Q5_K_XL
    [ "$(types out.gguf blk.0.ffn_gate_exps)" = q6_K ]
}

@test "presets that are misspelt, or asked for something else as well" {
    run gguf-quant "$IN/mini.gguf" out.gguf Q4_K_XL
    [ "$status" -eq 2 ]
    [[ $output == *"there is no file type 'Q4_K_XL'; near it: UD-Q4_K_XL"* ]]
    run gguf-quant --pure "$IN/mini.gguf" out.gguf UD-Q4_K_XL
    [ "$status" -eq 2 ]
    [[ $output == *"--pure has no effect with UD-Q4_K_XL"* ]]
    run gguf-quant --target-size 9M "$IN/mini.gguf" out.gguf UD-Q4_K_XL
    [ "$status" -eq 2 ]
    [[ $output == *"leaves no choice"* ]]
    run gguf-quant --help
    [[ $output == *"  UD-IQ1_S   24  1.8 bits, iq1_s"* ]]
}

@test "warnings of what could be better, where types were chosen; else in the JSON" {
    run gguf-quant --dry-run -q --imatrix "$MATRIX" "$IN/mini.gguf" UD-Q2_K_XL
    [ "${#lines[@]}" -eq 2 ]
    gguf-quant --dry-run --imatrix "$MATRIX" "$IN/mini.gguf" UD-Q2_K_XL 2>log >plan
    grep -q 'warning: 14 expert tensors are q2_K: iq2_s takes no more bytes' log
    grep -q 'warning: 7 expert tensors are q3_K: iq3_s takes no more bytes' log
    gguf-quant --dry-run --tensor-type 'attn_v=q4_0' --tensor-type gate_exps=q5_K "$IN/mini.gguf" Q8_0 2>log >plan
    grep -q 'warning: gate and up differ in 8 layers (blk.0.ffn_gate_exps.weight q5_K, up q8_0)' log
    grep -q 'warning: 2 tensors have fewer bits than their class should (blk.3.attn_v.weight: q4_0, at least 8.50 bits)' log
    gguf-quant --dry-run --json "$IN/mini.gguf" Q3_K_M 2>log >p.json
    [ ! -s log ]
    python3 - <<'P'
import json
w = {x["kind"]: x for x in json.load(open("p.json"))["warnings"]}
assert w["dominated_type"]["count"] > 8 and w["floor"]["first"] == "token_embd.weight"
assert "iq3_s" in w["dominated_type"]["message"]
P
    gguf-quant --dry-run --json "$IN/mini.gguf" COPY | grep -q '"warnings": \[\]'
}

@test "a target's plan beside the preset and the file type nearest to it" {
    gguf-quant --dry-run --json --target-bpw 5 --types k --imatrix "$MATRIX" "$IN/mini.gguf" >p.json
    gguf-quant --dry-run --json --imatrix "$MATRIX" "$IN/mini.gguf" UD-IQ4_XS >ud.json
    gguf-quant --dry-run --json --imatrix "$MATRIX" "$IN/mini.gguf" Q4_K_M >q4.json
    python3 - <<'P'
import json
p, ud, q4 = (json.load(open(f + ".json")) for f in ("p", "ud", "q4"))
a, b = p["comparison"]
assert (a["name"], b["name"]) == ("UD-IQ4_XS", "Q4_K_M")
assert a["bytes"] == ud["bytes"] and b["bytes"] == q4["bytes"]
for row in a, b:
    chosen = row["cost_chosen_for_these_bytes"]
    assert abs(row["gain"] - (1 - chosen / row["cost"])) < 1e-9 and row["gain"] > 0.2
    # More bytes than the plan has: less cost, and the other way round.
    assert (row["bytes"] > p["bytes"]) == (chosen < p["cost"])
P
    # Without a matrix what needs one is not compared with; demands hold for all.
    gguf-quant --dry-run -q --target-bpw 3.2 "$IN/mini.gguf" >plan
    [ "$(tail -2 plan | awk '{ print $1 }' | xargs)" = "UD-Q2_K_XL Q2_K" ]
    gguf-quant --dry-run -q --target-bpw 3.2 --tensor-type '_(shexp|exps)=q2_K' "$IN/mini.gguf" >plan
    [ "$(tail -2 plan | awk '{ print $3 }' | xargs)" = "3.2088 3.2088" ]
}

@test "--model-card: what Hugging Face wants of a README.md" {
    gguf-quant -q --imatrix "$MATRIX" --model-card card.md --tensor-type 'attn_(k|v)=q6_K' \
        --override-kv=general.base_model.0.repo_url=str:https://huggingface.co/A/B \
        --override-kv 'general.name=str:A *model*|' "$IN/mini.gguf" out.gguf UD-Q6_K_XL
    [ "$(head -10 card.md)" = '---
base_model: "A/B"
base_model_relation: quantized
quantized_by: "gguf-quant"
license: "cc0-1.0"
tags:
- gguf
- imatrix
- moe
---' ]
    grep -qx '# A _model__, UD-Q6_K_XL' card.md
    grep -qF ", $(stat -c %s out.gguf) bytes |" card.md
    grep -qF "| $(sha256sum <"$MATRIX" | cut -d' ' -f1) |" card.md
    # The lines of the table add up to the tensors of the file.
    gguf-quant --dry-run --json --imatrix "$MATRIX" --tensor-type 'attn_(k|v)=q6_K' \
        "$IN/mini.gguf" UD-Q6_K_XL >p.json
    [ "$(awk -F' *[|] *' '/^## / { on = /Types/ } on && $4 + 0 { n += $5 } END { print n }' card.md)" = \
        "$(sed -n 's/^  "bytes": \([0-9]*\),/\1/p' p.json)" ]
    # What is in the block is a command.
    sed -n '/^```sh$/,/^```$/p' card.md | sed '1d;$d' >again.sh
    grep -qF -- "--tensor-type 'attn_(k|v)=q6_K'" again.sh
    grep -qF ' mini.gguf out.gguf UD-Q6_K_XL' again.sh
    digests out.gguf >first
    rm out.gguf card.md && cp "$IN/mini.gguf" "$MATRIX" .
    sh again.sh
    digests out.gguf | cmp - first
}

@test "--compare-tensor: the same again, or how it differs" {
    gguf-quant -q --imatrix "$MATRIX" "$IN/mini.gguf" out.gguf UD-Q4_K_XL
    run gguf-quant --compare-tensor blk.1.ffn_down_exps.weight --imatrix "$MATRIX" "$IN/mini.gguf" out.gguf
    [ "$status" -eq 0 ]
    [[ ${lines[0]} == "blk.1.ffn_down_exps.weight, q8_0 from bf16, with importances" ]]
    [[ ${lines[1]} == "bytes       1114112, all equal" ]]
    local threads
    for threads in 1 3; do
        gguf-quant --json --compare-tensor blk.0.ffn_down_exps.weight "$IN/mini.gguf" out.gguf $threads >c.$threads
    done
    cmp c.1 c.3
    python3 - <<'P'
import json
c = json.load(open("c.1"))
assert c["type"] == "q5_K" and not c["equal"] and not c["importances"]
assert 0 < c["bytes_different"] < c["bytes"] and 0 < c["blocks_different"] <= c["blocks"]
# Without importances the file that was made with them loses more.
assert 0 < c["error_here"] < c["error_there"] < 0.1
P
    # One byte changed is one byte found.
    local at; at=$(gguf-inspect --json --tensors blk.0.attn_qkv.weight out.gguf | sed -n 's/ *"offset": \([0-9]*\),*/\1/p')
    cp out.gguf changed.gguf
    printf '\x55' | dd of=changed.gguf bs=1 seek=$((at + 70)) conv=notrunc status=none
    run gguf-quant --compare-tensor blk.0.attn_qkv.weight --imatrix "$MATRIX" "$IN/mini.gguf" changed.gguf
    [[ $output == *", 1 differ, in 1 of "* ]]
    run gguf-quant --compare-tensor nope "$IN/mini.gguf" out.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"mini.gguf has no tensor 'nope'" ]]
    run gguf-quant --compare-tensor output.weight "$IN/mini.gguf" "$IN/moe.gguf"
    [ "$status" -eq 1 ]
    [[ $output == *"in the source"* ]]
    run gguf-quant --compare-tensor output.weight --pure "$IN/mini.gguf" out.gguf
    [ "$status" -eq 2 ]
    run gguf-quant --compare-tensor output.weight "$IN/mini.gguf"
    [ "$status" -eq 2 ]
}
