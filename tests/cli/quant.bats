# gguf-quant: llama-quantize's bytes, its options, and what bad input gets.

load gguf_image
load refusals

setup_file() {
    export DATA=$PWD/tests/data/quant ROOT=$PWD
    cd "$BATS_FILE_TMPDIR" || exit
    for f in tiny-bf16 moe-bf16 k-src lm-f32; do zstd -q -d -o $f.gguf "$DATA/$f.gguf.zst"; done
    cp "$DATA"/*.imatrix.* .
    zstd -q -d -o mini.gguf "$ROOT/samples/q3n-mini-bf16.gguf.zst"
}

setup() {
    IN=$BATS_FILE_TMPDIR
    cd "$BATS_TEST_TMPDIR" || exit
}

digests() { gguf-hash --sha256 "$1" | sed -n "s|^sha256 *\([0-9a-f]*\)  $1:|\1  |p"; }
keys() { gguf-inspect "$1" --kv | awk '{print $1, $2, $3}'; }
types() { gguf-inspect "$1" --json --tensors "$2" | sed -n 's/ *"type": "\(.*\)",*/\1/p' | sort -u; }

# ---- The reference's bytes ----

@test "whole files are llama-quantize's" {
    cd "$IN"
    local sum name type
    while read -r sum name; do
        type=${name%.gguf} type=${type##*[.-]}
        case $name in
        k-*) set -- k-src.gguf ;;
        tiny.imat.*) set -- --imatrix tiny.imatrix.gguf tiny-bf16.gguf ;;
        moe.imat.*) set -- --imatrix moe.imatrix.gguf moe-bf16.gguf ;;
        lm-*) set -- lm-f32.gguf ;;
        *) set -- tiny-bf16.gguf ;;
        esac
        gguf-quant -q "$@" "$BATS_TEST_TMPDIR/$name" "$type"
        [ "$(sha256sum <"$BATS_TEST_TMPDIR/$name")" = "$sum  -" ] || { echo "$name"; return 1; }
    done <"$DATA/files.sha256"
}

@test "the sample's tensors are llama-quantize's, for any number of threads" {
    local type
    for type in Q8_0 MXFP4_MOE Q4_K_M TQ1_0 Q1_0; do
        gguf-quant -q --imatrix "$ROOT/samples/q3n-mini.imatrix.gguf" "$IN/mini.gguf" s.gguf $type
        grep -q "^$(digests s.gguf | sha256sum | cut -d' ' -f1)  $type\$" "$DATA/sample.sha256"
        cp s.gguf $type.gguf && rm s.gguf
    done
    gguf-quant -q --imatrix "$ROOT/samples/q3n-mini.imatrix.gguf" "$IN/mini.gguf" s.gguf Q8_0 1
    cmp s.gguf Q8_0.gguf
    rm s.gguf
    gguf-quant -q --imatrix "$ROOT/samples/q3n-mini.imatrix.gguf" "$IN/mini.gguf" s.gguf Q8_0 7
    cmp s.gguf Q8_0.gguf
}

@test "the C code and the fastest write the same bytes" {
    Q3N_CPU=c gguf-quant -q --imatrix "$IN/moe.imatrix.gguf" "$IN/moe-bf16.gguf" a.gguf Q4_K_M
    gguf-quant -q --imatrix "$IN/moe.imatrix.gguf" "$IN/moe-bf16.gguf" b.gguf Q4_K_M
    cmp a.gguf b.gguf
}

@test "the old form of a matrix is read, and differs in the last bit" {
    gguf-quant -q --imatrix "$IN/lm.imatrix.gguf" "$IN/lm-f32.gguf" a.gguf Q4_0
    gguf-quant -q --imatrix "$IN/lm.imatrix.dat" "$IN/lm-f32.gguf" b.gguf Q4_0
    [ "$(keys a.gguf | grep -v imatrix.file)" = "$(keys b.gguf | grep -v imatrix.file)" ]
    keys b.gguf | grep -q "^quantize.imatrix.chunks_count u32 7"
    keys b.gguf | grep -q "^quantize.imatrix.dataset string g/t.txt"
    gguf-quant -q "$IN/lm-f32.gguf" c.gguf Q4_0
    [ "$(digests b.gguf)" != "$(digests c.gguf)" ]
}

# ---- Options ----

@test "the name of the output, the type by number, threads" {
    cp "$IN/tiny-bf16.gguf" in.gguf
    gguf-quant -q in.gguf q4_k
    cmp ggml-model-Q4_K_M.gguf <(cd "$IN" && cat "$ROOT/tests/data/gguf/tiny.Q4_K_M.gguf")
    gguf-quant -q in.gguf x.gguf 15 1
    cmp x.gguf ggml-model-Q4_K_M.gguf
    run gguf-quant in.gguf y.gguf 2 2
    [ "$status" -eq 0 ]
    [[ ${lines[0]} == "[   1/  12] output.weight "*" - [  256,    32,     1,     1], type =   bf16, converting to q6_K .. size ="* ]]
    [[ $output == *"model size  =     0.91 MiB (16.03 BPW)"* ]]
    [[ $output == *"quant size  = "*" BPW)"* ]]
}

@test "--dry-run prints the plan and writes nothing" {
    run gguf-quant --dry-run "$IN/moe-bf16.gguf" out.gguf Q4_K_M
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 15 ]
    [[ ${lines[8]} == *"blk.0.ffn_down_exps.weight"*"converting to q6_K"* ]]
    [ "$(ls)" = "" ]
    gguf-quant --dry-run --json "$IN/moe-bf16.gguf" out.gguf IQ2_M >plan.json
    awk -F'[ ,]+' '/^      "bytes":/ { sum += $3 } /^  "bytes":/ { total = $3 }
        END { exit !(sum == total && sum > 0) }' plan.json
    [ "$(grep -c '"to": "iq2_s"' plan.json)" -gt 2 ]
    run gguf-quant --dry-run -q "$IN/moe-bf16.gguf" out.gguf Q4_K_M
    [ "${#lines[@]}" -eq 2 ]
}

@test "--dry-run needs the header alone" {
    head -c 3000 "$IN/tiny-bf16.gguf" >cut.gguf
    gguf-quant --dry-run cut.gguf Q6_K >cut.txt
    gguf-quant --dry-run "$IN/tiny-bf16.gguf" Q6_K | cmp - cut.txt
    rm cut.txt
    fails_with "cut.gguf" gguf-quant cut.gguf out.gguf Q6_K
}

@test "demands for tensors: pattern, file, head, embedding" {
    printf 'ffn_gate=q4_1\nffn_.*=q8_0 attn_q=f16' >types
    gguf-quant -q --tensor-type 'attn_[QKV]\.=q3_K' --tensor-type '\Dttn_k=q5_0' \
        --tensor-type-file types --output-tensor-type q5_1 --token-embedding-type iq4_nl \
        "$IN/tiny-bf16.gguf" a.gguf Q4_0 2>log
    [ "$(types a.gguf attn_k)" = q5_0 ]
    [ "$(types a.gguf ffn_gate)" = q4_1 ]
    [ "$(types a.gguf ffn_down)" = q8_0 ]
    [ "$(types a.gguf attn_q)" = f16 ]
    [ "$(types a.gguf attn_v)" = q4_0 ]
    [ "$(types a.gguf '^output.weight')" = q5_1 ]
    [ "$(types a.gguf token_embd)" = iq4_nl ]
    # llama-quantize lower-cases the pattern: \D becomes \d, [QKV] matches.
    gguf-quant -q --compat --tensor-type 'attn_[QV]\.=q3_K' --tensor-type '\Dttn_k=q5_0' \
        "$IN/tiny-bf16.gguf" b.gguf Q4_0
    [ "$(types b.gguf attn_k)" = q4_0 ]
    [ "$(types b.gguf 'attn_[qv]\.')" = q3_K ]
    run gguf-quant --tensor-type 'nothing=q8_0' "$IN/tiny-bf16.gguf" c.gguf Q4_0
    [ "$status" -eq 0 ]
    [[ $output == *"--tensor-type 'nothing' decided no tensor"* ]]
}

@test "--pure and --leave-output-tensor" {
    gguf-quant -q --pure --leave-output-tensor "$IN/tiny-bf16.gguf" a.gguf Q4_K_M
    [ "$(types a.gguf 'blk.*(attn_.|ffn_.*|attn_output)\.weight' | xargs)" = "f32 q4_K" ]
    [ "$(types a.gguf '^output.weight')" = bf16 ]
}

@test "--include-weights and --exclude-weights leave the rest unweighted" {
    gguf-quant -q --imatrix "$IN/tiny.imatrix.gguf" "$IN/tiny-bf16.gguf" all.gguf Q4_K_M
    gguf-quant -q "$IN/tiny-bf16.gguf" none.gguf Q4_K_M
    gguf-quant -q --imatrix "$IN/tiny.imatrix.gguf" --include-weights attn_k --include-weights up \
        "$IN/tiny-bf16.gguf" some.gguf Q4_K_M
    keys some.gguf | grep -q "^quantize.imatrix.entries_count u32 2"
    digests all.gguf >all; digests none.gguf >none; digests some.gguf >some
    [ "$(comm -12 <(sort all) <(sort some) | grep -c 'attn_k\|ffn_up')" -eq 2 ]
    [ "$(comm -12 <(sort none) <(sort some) | wc -l)" -eq 10 ]
    gguf-quant -q --imatrix "$IN/tiny.imatrix.gguf" --exclude-weights attn --exclude-weights gate \
        --exclude-weights down "$IN/tiny-bf16.gguf" rest.gguf Q4_K_M
    keys rest.gguf | grep -q "^quantize.imatrix.entries_count u32 1"
}

@test "--override-kv sets, in order, at the end" {
    gguf-quant -q --override-kv general.name=str:Other --override-kv x.neg=int:-77 \
        --override-kv x.big=int:5000000000 --override-kv x.f=float:1.5 --override-kv x.b=bool:true \
        "$IN/tiny-bf16.gguf" a.gguf Q8_0
    [ "$(keys a.gguf | tail -7)" = "general.quantization_version u32 2
general.file_type u32 7
general.name string Other
x.neg i32 -77
x.big u64 5000000000
x.f f32 1.5
x.b bool true" ]
    gguf-quant -q --compat --override-kv x.neg=int:-77 "$IN/tiny-bf16.gguf" b.gguf Q8_0
    [ "$(keys b.gguf | tail -1)" = "x.neg u32 77" ]
    # The rules see the model as overridden.
    gguf-quant -q --override-kv llama.expert_count=int:8 "$IN/moe-bf16.gguf" c.gguf Q4_K_M
    [ "$(types c.gguf attn_v)" = q8_0 ]
}

@test "COPY keeps types and data, sorts, guesses the file type" {
    gguf-quant -q "$IN/k-src.gguf" a.gguf COPY
    [ "$(digests a.gguf | sort)" = "$(cd "$IN" && digests k-src.gguf | sort)" ]
    [ "$(keys a.gguf | tail -1)" = "general.file_type u32 1024" ]
    [ "$(digests a.gguf | head -1 | cut -d' ' -f3)" = output.weight ]
    gguf-quant -q "$IN/tiny-bf16.gguf" b.gguf copy
    [ "$(keys b.gguf | tail -1)" = "general.file_type u32 0" ]
}

@test "--prune-layers renumbers, counts, finds the matrix entries" {
    gguf-quant -q --prune-layers 0 "$IN/k-src.gguf" a.gguf COPY
    keys a.gguf | grep -q "^qwen3next.block_count u32 1"
    [ "$(digests a.gguf | sed 's/blk\.0/blk.1/' | sort)" = \
        "$(cd "$IN" && digests k-src.gguf | grep -v 'blk\.0' | sort)" ]
    gguf-quant -q --prune-layers 1,3,5,0,2 --imatrix "$ROOT/samples/q3n-mini.imatrix.gguf" \
        "$IN/mini.gguf" b.gguf Q4_0
    gguf-quant -q --imatrix "$ROOT/samples/q3n-mini.imatrix.gguf" --pure "$IN/mini.gguf" c.gguf Q4_0
    [ "$(digests b.gguf | grep 'blk\.1\.ffn_up')" = \
        "$(digests c.gguf | grep 'blk\.6\.ffn_up' | sed 's/blk.6/blk.1/')" ]
    keys b.gguf | tail -1 | grep -q "block_count u32 3"
    fails_with "no layer 2 to prune" gguf-quant --prune-layers 2 "$IN/k-src.gguf" x.gguf COPY
    fails_with "leave no layer" gguf-quant --prune-layers 1,0 "$IN/k-src.gguf" x.gguf COPY
}

@test "arrays with an element for each layer are pruned with them" {
    {
        gguf_head 3 1 3
        gguf_key_string general.architecture a
        gguf_key_u32 a.block_count 3
        gguf_key_u32s a.attention.head_count_kv 4 5 6
        gguf_tensor blk.2.x.weight 0 0 8
    } | gguf_pad 32 >in.gguf
    printf '%032d' 0 >>in.gguf
    gguf-quant -q --prune-layers 1 in.gguf out.gguf COPY
    run gguf-inspect out.gguf --kv --full
    [[ $output == *"head_count_kv"*"4, 6"* ]]
    gguf-quant -q --compat --prune-layers 1 in.gguf compat.gguf COPY
    run gguf-inspect compat.gguf --kv --full
    [[ $output == *"head_count_kv"*"4, 5, 6"* ]]
}

@test "a split input becomes one file, or as many with --keep-split" {
    gguf-split --split-max-tensors 5 "$IN/tiny-bf16.gguf" s >/dev/null
    gguf-quant -q s-00001-of-00003.gguf one.gguf Q4_K_M
    cmp one.gguf "$ROOT/tests/data/gguf/tiny.Q4_K_M.gguf"
    gguf-quant -q --keep-split s-00001-of-00003.gguf k.gguf Q4_K_M
    [ "$(ls k*)" = "k-00001-of-00003.gguf
k-00002-of-00003.gguf
k-00003-of-00003.gguf" ]
    [ "$(digests k-00001-of-00003.gguf | sort)" = "$(digests one.gguf | sort)" ]
    # The order of the input, not sorted.
    [ "$(digests k-00001-of-00003.gguf | head -1 | cut -d' ' -f3)" = token_embd.weight ]
    [ "$(keys k-00001-of-00003.gguf | tail -3)" = "split.no u16 0
split.count u16 3
split.tensors.count i32 12" ]
    gguf-inspect --check k-00001-of-00003.gguf
    fails_with "exists already" gguf-quant --keep-split s-00001-of-00003.gguf k.gguf Q4_K_M
}

@test "an alignment of 64 is kept, and kept to" {
    gguf-quant -q --override-kv general.alignment=int:64 "$IN/tiny-bf16.gguf" in.gguf COPY
    gguf-quant -q in.gguf out.gguf Q4_K_M
    keys out.gguf | grep -q "^general.alignment u32 64"
    gguf-inspect --check out.gguf
    cp "$ROOT/tests/data/gguf/tiny.Q4_K_M.gguf" plain.gguf
    [ "$(digests out.gguf)" = "$(digests plain.gguf)" ]
}

@test "all of a tensor of four dimensions" {
    four() { # dimensions...
        {
            gguf_head 3 1 2
            gguf_key_string general.architecture a
            gguf_key_u32 a.block_count 1
            gguf_tensor blk.0.x.weight 30 0 "$@"
        } | gguf_pad 32
        seq 100000 | sed 's/[0-9]/\x01/g' | tr '\n' '\074' | head -c 3072
    }
    four 64 2 3 4 >four.gguf
    four 64 24 >two.gguf
    gguf-quant -q four.gguf a.gguf Q4_0
    gguf-quant -q two.gguf b.gguf Q4_0
    [ "$(types a.gguf .)" = q4_0 ]
    [ "$(digests a.gguf)" = "$(digests b.gguf)" ]
}

@test "sub-blocks of zeros in IQ3_S stay in place, but for --compat" {
    {
        gguf_head 3 1 2
        gguf_key_string general.architecture a
        gguf_key_u32 a.block_count 1
        gguf_tensor blk.0.x.weight 30 0 256 2
    } | gguf_pad 32 >in.gguf
    head -c 64 /dev/zero >>in.gguf
    seq 1000 | tr -d '\n' | tr 0-9 '\074-\105' | head -c 960 >>in.gguf
    gguf-quant -q in.gguf a.gguf IQ3_S
    gguf-quant -q --compat in.gguf b.gguf IQ3_S
    local at; at=$(data_at a.gguf blk.0.x.weight)
    # After the scale 8 indices, none chosen for zeros; the 9th becomes the first.
    [ "$(tail -c +$((at + 3)) a.gguf | head -c 8 | tr -d '\0' | wc -c)" -eq 0 ]
    [ "$(tail -c +$((at + 11)) a.gguf | head -c 56 | xxd -p)" = \
        "$(tail -c +$((at + 3)) b.gguf | head -c 56 | xxd -p)" ]
    # The second row has no zeros.
    cmp <(tail -c +$((at + 111)) a.gguf) <(tail -c +$((at + 111)) b.gguf)
}

@test "--allow-requantize" {
    gguf-quant -q "$IN/tiny-bf16.gguf" q8.gguf Q8_0
    fails_with "tensor 'output.weight' is q8_0 already" gguf-quant q8.gguf out.gguf Q4_0
    gguf-quant -q --allow-requantize q8.gguf out.gguf Q4_0
    [ "$(types out.gguf attn_q)" = q4_0 ]
    gguf-quant -q q8.gguf same.gguf Q8_0
    [ "$(digests same.gguf)" = "$(digests q8.gguf)" ]
}

@test "--json after the work, -q without a word" {
    gguf-quant --json "$IN/tiny-bf16.gguf" a.gguf Q4_0 2>log | grep -q '"file_type": "Q4_0"'
    [ "$(grep -c 'converting to' log)" -eq 9 ]
    run gguf-quant -q "$IN/tiny-bf16.gguf" b.gguf Q4_0
    [ "$output" = "" ]
}

# ---- What goes wrong ----

@test "missing and malformed files" {
    fails_with "cannot open none.gguf" gguf-quant none.gguf out.gguf Q4_0
    fails_with "cannot open none" gguf-quant --imatrix none "$IN/tiny-bf16.gguf" out.gguf Q4_0
    printf 'no model' >bad.gguf
    fails_with "bad.gguf" gguf-quant bad.gguf out.gguf Q4_0
    fails_with "importance matrix" gguf-quant --imatrix bad.gguf "$IN/tiny-bf16.gguf" out.gguf Q4_0
    fails_with "not an importance matrix" gguf-quant --imatrix "$IN/tiny-bf16.gguf" \
        "$IN/tiny-bf16.gguf" out.gguf Q4_0
    fails_with "cannot read none" gguf-quant --tensor-type-file none "$IN/tiny-bf16.gguf" out.gguf Q4_0
}

@test "the matrix of another model" {
    fails_with "has 64 values for tensor 'blk.0.attn_k.weight', expected 256" \
        gguf-quant --imatrix "$IN/lm.imatrix.gguf" "$IN/tiny-bf16.gguf" out.gguf Q4_0
    fails_with "no entry for any tensor" \
        gguf-quant --imatrix "$IN/lm.imatrix.gguf" "$IN/k-src.gguf" out.gguf Q4_0
}

@test "a matrix with a NaN, unless it is left out" {
    cp "$IN/tiny.imatrix.gguf" nan.gguf
    poke nan.gguf $(($(data_at nan.gguf blk.0.attn_k.weight.in_sum2) + 8)) '\xff\xff\xff\x7f'
    fails_with "value 2 of 'blk.0.attn_k.weight' is nan" \
        gguf-quant --imatrix nan.gguf "$IN/tiny-bf16.gguf" out.gguf Q4_0
    gguf-quant -q --imatrix nan.gguf --exclude-weights attn_k "$IN/tiny-bf16.gguf" out.gguf Q4_0
}

@test "types that need a matrix" {
    fails_with "needs an importance matrix" gguf-quant "$IN/tiny-bf16.gguf" out.gguf Q2_K_S
    run gguf-quant --dry-run "$IN/tiny-bf16.gguf" out.gguf Q2_K_S
    [ "$status" -eq 0 ]
    [[ $output == *"warning: "*"needs an importance matrix"* ]]
    local type
    for type in IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ3_XXS; do
        fails_with "needs an importance matrix" gguf-quant "$IN/tiny-bf16.gguf" out.gguf $type
    done
    # llama-quantize does not ask for one here, and its library then aborts.
    fails_with "'token_embd.weight' needs an importance matrix to become iq2_xs" \
        gguf-quant --token-embedding-type iq2_xs "$IN/tiny-bf16.gguf" out.gguf Q4_0
    gguf-quant -q --token-embedding-type iq2_s "$IN/tiny-bf16.gguf" out.gguf IQ3_S
    [ "$(types out.gguf token_embd)" = iq2_s ]
}

@test "NaN in the source, and what overflows in the result" {
    cp "$IN/tiny-bf16.gguf" nan.gguf && cp nan.gguf big.gguf && cp nan.gguf norm.gguf
    poke nan.gguf $(($(data_at nan.gguf blk.0.attn_k.weight) + 2 * 256 * 3 + 2)) '\xc0\x7f'
    fails_with "tensor 'blk.0.attn_k.weight', row 3" gguf-quant -q nan.gguf out.gguf Q4_0
    poke big.gguf $(($(data_at big.gguf blk.0.attn_k.weight) + 2 * 256 * 5)) '\x70\x7f'
    fails_with "tensor 'blk.0.attn_k.weight', row 5" gguf-quant -q big.gguf out.gguf Q4_0
    poke norm.gguf "$(data_at norm.gguf output_norm.weight)" '\x00\x00\x80\x7f'
    fails_with "tensor 'output_norm.weight', row 0" gguf-quant -q norm.gguf out.gguf COPY
}

@test "the output is there, or is the input" {
    echo mine >out.gguf
    fails_with "exists already (--force replaces it)" gguf-quant -q "$IN/tiny-bf16.gguf" out.gguf Q4_0
    [ "$(cat out.gguf)" = mine ]
    gguf-quant -q --force "$IN/tiny-bf16.gguf" out.gguf Q4_0
    [ "$(types out.gguf attn_q)" = q4_0 ]
    cp "$IN/tiny-bf16.gguf" in.gguf
    ln in.gguf same.gguf
    fails_with "is read from, it is not replaced" gguf-quant -q --force in.gguf same.gguf Q4_0
    cmp in.gguf "$IN/tiny-bf16.gguf"
    fails_with "cannot create none/out.gguf" gguf-quant -q in.gguf none/out.gguf Q4_0
}

@test "no room for the output leaves nothing" {
    fails_with "cannot write out.gguf" bash -c "ulimit -f 64; exec gguf-quant -q '$IN/tiny-bf16.gguf' out.gguf Q8_0"
}

@test "SIGINT leaves nothing" {
    gguf-quant -q --imatrix "$ROOT/samples/q3n-mini.imatrix.gguf" "$IN/mini.gguf" out.gguf Q5_K_M 3>&- &
    local pid=$! i
    for ((i = 0; i < 100; i++)); do
        compgen -G 'out.gguf.partial*' >/dev/null && break
        sleep 0.05
    done
    compgen -G 'out.gguf.partial*' >/dev/null
    kill -INT $pid
    local ended=0
    wait $pid || ended=$?
    [ "$ended" -eq 130 ]
    [ "$(ls)" = "" ]
}

@test "--refine: other bytes of the same types, for any threads and instruction set" {
    mini() { gguf-quant -q --imatrix "$ROOT/samples/q3n-mini.imatrix.gguf" "$IN/mini.gguf" "$@"; }
    mini plain.gguf Q4_K_M
    mini --refine 0 zero.gguf Q4_K_M
    cmp plain.gguf zero.gguf
    mini --refine 1 one.gguf Q4_K_M 1
    mini --refine 1 two.gguf Q4_K_M 2
    cmp one.gguf two.gguf
    gguf-inspect --check one.gguf
    gguf-inspect one.gguf --tensors . --json | grep -v offset >one.json
    gguf-inspect plain.gguf --tensors . --json | grep -v offset >plain.json
    diff <(grep '"type"' one.json) <(grep '"type"' plain.json)
    run gguf-inspect --diff one.gguf plain.gguf
    [[ $output == *ffn_gate_exps* ]]
    for r in 0 1; do
        gguf-quant --compare-tensor blk.1.ffn_up_exps.weight --imatrix "$ROOT/samples/q3n-mini.imatrix.gguf" \
            --refine $r --json "$IN/mini.gguf" one.gguf >$r.json
    done
    grep -q '"bytes_different": 0,' 1.json
    run grep -q '"bytes_different": 0,' 0.json
    [ "$status" -eq 1 ]
    tiny() { gguf-quant -q --imatrix "$IN/tiny.imatrix.gguf" --refine 2 "$IN/tiny-bf16.gguf" "$@"; }
    tiny c.gguf Q2_K
    Q3N_CPU=c tiny d.gguf Q2_K
    cmp c.gguf d.gguf
    fails_with "no effect: no tensor" gguf-quant --refine 1 "$IN/tiny-bf16.gguf" o.gguf Q8_0
}

@test "wrong command lines" {
    cp "$IN/tiny-bf16.gguf" in.gguf
    misused_with "no file type 'Q4_KM'; near it: Q4_K_M" gguf-quant in.gguf out.gguf Q4_KM
    misused_with "known are COPY F32" gguf-quant in.gguf out.gguf nonsense
    misused_with "no file type 'out.gguf'" gguf-quant in.gguf out.gguf
    misused_with "missing argument" gguf-quant in.gguf
    misused_with "unexpected argument '3'" gguf-quant in.gguf Q4_0 2 3
    misused_with "not a number of threads" gguf-quant in.gguf out.gguf Q4_0 many
    misused_with "there is no tensor type 'q4_k_m'" gguf-quant --tensor-type x=q4_k_m in.gguf o.gguf Q4_0
    misused_with "expected REGEX=TYPE" gguf-quant --tensor-type q4_K in.gguf o.gguf Q4_0
    misused_with "pattern '('" gguf-quant --tensor-type '(=q4_K' in.gguf o.gguf Q4_0
    misused_with "there is no tensor type 'Q4_K_M'" gguf-quant --output-tensor-type Q4_K_M in.gguf o.gguf Q4_0
    misused_with "no effect with COPY" gguf-quant --pure in.gguf o.gguf COPY
    misused_with "needs --imatrix" gguf-quant --include-weights x in.gguf o.gguf Q4_0
    misused_with "exclude each other" gguf-quant --imatrix i --include-weights x --exclude-weights y in.gguf o.gguf Q4_0
    misused_with "expected a whole number" gguf-quant --override-kv a=int:x in.gguf o.gguf Q4_0
    misused_with "type int, float, bool or str" gguf-quant --override-kv a=u8:1 in.gguf o.gguf Q4_0
    misused_with "true or false" gguf-quant --override-kv a=bool:1 in.gguf o.gguf Q4_0
    misused_with "not a list of layers" gguf-quant --prune-layers 1,,2 in.gguf o.gguf Q4_0
    misused_with "not a list of layers" gguf-quant --prune-layers -1 in.gguf o.gguf Q4_0
    misused_with "must be 0, 1 or 2" gguf-quant --refine 3 in.gguf o.gguf Q4_0
    misused_with "exclude each other" gguf-quant --refine 1 --compat in.gguf o.gguf Q4_K_M
    misused_with "no effect with COPY" gguf-quant --refine 1 in.gguf o.gguf COPY
    [ "$(ls)" = in.gguf ]
}
