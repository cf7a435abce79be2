# gguf-quant: plan files, and what the output says of how its types were chosen.

setup_file() {
    export DATA=$PWD/tests/data/quant ROOT=$PWD
    cd "$BATS_FILE_TMPDIR" || exit
    zstd -q -d -o moe.gguf "$DATA/moe-bf16.gguf.zst"
    zstd -q -d -o mini.gguf "$ROOT/samples/q3n-mini-bf16.gguf.zst"
    cp "$DATA/moe.imatrix.gguf" .
}

setup() {
    IN=$BATS_FILE_TMPDIR
    cd "$BATS_TEST_TMPDIR" || exit
}

moe() { gguf-quant -q --imatrix "$IN/moe.imatrix.gguf" "$@"; }
digests() { gguf-hash --sha256 "$1" | sed -n "s|^sha256 *\([0-9a-f]*\)  $1:|\1  |p"; }
record() { gguf-inspect --full "$1" --kv | sed -n 's/^quantize\.q3n\.\([a-z0-9_]*\)  *[a-z0-9]*  */\1 /p'; }

@test "a plan written is a plan read, by --tensor-type-file as well" {
    moe --plan-out p.txt "$IN/moe.gguf" a.gguf Q4_K_M
    moe --plan-in p.txt "$IN/moe.gguf" b.gguf
    [ "$(digests a.gguf)" = "$(digests b.gguf)" ]
    moe --tensor-type-file p.txt "$IN/moe.gguf" c.gguf Q2_K 2>log
    [ "$(digests a.gguf)" = "$(digests c.gguf)" ]
    [ ! -s log ]
    # Patterns all, and none of the head's matches a name: llama-quantize takes them too.
    run grep -cvE '^(#[-_.:,0-9A-Za-z]+|\^[a-z0-9_\\.]+\$)=[a-z0-9_K]+$' p.txt
    [ "$output" = 0 ]
    grep -q '^#source:moe.gguf=f32$' p.txt
    grep -q "^#imatrix-sha256:$(sha256sum <"$IN/moe.imatrix.gguf" | cut -d' ' -f1)=f32$" p.txt
}

@test "--plan-out with --dry-run, not over a file" {
    moe --dry-run --plan-out p.txt "$IN/moe.gguf" Q4_K_M >plan
    [ "$(ls)" = "p.txt
plan" ]
    run moe --plan-out p.txt "$IN/moe.gguf" a.gguf Q4_K_M
    [ "$status" -eq 1 ]
    [[ $output == *"p.txt exists already"* ]]
    [ ! -e a.gguf ]
    moe --force --plan-out p.txt "$IN/moe.gguf" a.gguf Q8_0
    grep -q '^\^blk.*=q8_0$' p.txt
    run moe --plan-out a --dry-run "$IN/moe.gguf" a Q8_0
    [ "$status" -eq 2 ]
}

@test "what a plan leaves out, and what goes before it" {
    printf 'output.weight=q5_0\n^blk\\.0\\.attn_q\\.weight$=q5_1\nblk.0.attn_k.weight=q4_1\n' >p.txt
    moe --plan-in p.txt --tensor-type attn_k=q8_0 "$IN/moe.gguf" a.gguf Q4_0
    [ "$(gguf-inspect --json --tensors '^output.weight|attn_[qkv].weight' a.gguf |
        sed -n 's/ *"type": "\(.*\)",*/\1/p' | xargs)" = "q5_0 q8_0 q5_1 q4_0" ]
    run moe --plan-in p.txt "$IN/moe.gguf" b.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"p.txt has no type for tensor 'token_embd.weight', and no file type is given" ]]
    [ ! -e b.gguf ]
}

@test "a GGUF as the plan" {
    moe "$IN/moe.gguf" a.gguf Q3_K_M
    moe --plan-in a.gguf "$IN/moe.gguf" b.gguf 2
    [ "$(digests a.gguf)" = "$(digests b.gguf)" ]
    run gguf-quant -q --plan-in a.gguf "$IN/mini.gguf" c.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"a.gguf has "* ]]
}

@test "plans that are wrong" {
    local text words
    while IFS=: read -r text words; do
        printf "$text" >p.txt
        run moe --plan-in p.txt "$IN/moe.gguf" a.gguf Q4_0
        [ "$status" -eq 1 ] && [ "${#lines[@]}" -eq 1 ] && [[ $output == *"$words"* ]] ||
            { echo "$text: $output"; return 1; }
    done <<'E'
output.weight=q8_0\nblk.9.attn_q.weight=q8_0\n:p.txt, line 2: the model has no tensor 'blk.9.attn_q.weight'
output.weight=q4_K_M\n:p.txt, line 1: 'q4_K_M' is not a tensor type
output.weight=q8_0\n\noutput.weight=q8_0\n:p.txt, line 3: tensor 'output.weight' has a type from line 1 already
output_norm.weight=q8_0\n:p.txt, line 1: tensor 'output_norm.weight' stays as it is, f32
output:p.txt, line 1: 'output' is not NAME=TYPE
E
    run moe --plan-in none "$IN/moe.gguf" a.gguf Q4_0
    [ "$status" -eq 1 ]
    run moe --plan-in p.txt "$IN/moe.gguf" a.gguf COPY
    [ "$status" -eq 2 ]
    run moe --plan-in p.txt --target-size 1M "$IN/moe.gguf" a.gguf
    [ "$status" -eq 2 ]
    run moe --plan-in p.txt "$IN/moe.gguf" a.gguf Q4_KM
    [ "$status" -eq 2 ]
    [[ $output == *"near it: Q4_K_M"* ]]
}

@test "what a file says of how its types were chosen" {
    moe "$IN/moe.gguf" a.gguf Q4_K_M
    [ "$(record a.gguf)" = "" ]
    moe --compat "$IN/moe.gguf" b.gguf UD-Q4_K_XL
    [ "$(record b.gguf)" = "" ]
    moe "$IN/moe.gguf" c.gguf UD-Q4_K_XL
    record c.gguf >c
    [ "$(cut -d' ' -f1 c | xargs)" = "type imatrix_sha256 imatrix_shrink recipe" ]
    grep -q '^type UD-Q4_K_XL$' c
    grep -q '^recipe output.weight=q8_0 token_embd.weight=q8_0 blk.{0}' c
    # Quantized again the old words go, copied they stay.
    gguf-quant -q --allow-requantize c.gguf d.gguf Q4_0
    [ "$(record d.gguf)" = "" ]
    gguf-quant -q c.gguf e.gguf COPY
    record e.gguf | cmp - c
}

@test "a target is recorded, and its size kept" {
    local matrix=$ROOT/samples/q3n-mini.imatrix.gguf
    gguf-quant -q --imatrix "$matrix" --target-size 17M --types k --plan-out p.txt --json \
        "$IN/mini.gguf" a.gguf >p.json
    record a.gguf >a
    [ "$(cut -d' ' -f1 a | xargs)" = \
        "type target_bytes types predicted_error dual_gap imatrix_sha256 imatrix_shrink recipe" ]
    grep -q '^target_bytes 17825792$' a
    grep -q '^types k$' a
    [ "$(stat -c %s a.gguf)" -le 17825792 ]
    [ "$(stat -c %s a.gguf)" -ge 17807966 ]
    grep -q "\"file_bytes\": $(stat -c %s a.gguf)," p.json
    gguf-quant -q --imatrix "$matrix" --plan-in p.txt "$IN/mini.gguf" b.gguf
    [ "$(digests a.gguf)" = "$(digests b.gguf)" ]
    [ "$(gguf-inspect a.gguf --kv | grep file_type)" = "$(gguf-inspect b.gguf --kv | grep file_type)" ]
}
