# gguf-synth: right shapes, the same bytes for the same seed, and good files.

setup() {
    cd "$BATS_TEST_TMPDIR" || exit
}

small() {
    gguf-synth "$1" --embd 64 --ff 32 --ff-shared 32 --experts 4 --vocab 40 --layers 3 \
        --interval 2 --head-dim 32 --rope-dims 8 --ssm-state 16 "${@:2}"
}

@test "the bytes depend on the seed and not on threads" {
    small a --type Q4_0 -t 1
    small b --type Q4_0 -t 3
    cmp a b
    small c --type Q4_0 --seed 1
    run cmp a c
    [ "$status" -eq 1 ]
    gguf-synth big1 --layers 1 --type Q4_K -t 1
    gguf-synth big2 --layers 1 --type Q4_K -t 4
    cmp big1 big2
}

@test "every type gives a file without infinite or NaN values" {
    for type in F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4; do
        small m.gguf --type $type --force
        run gguf-inspect --check m.gguf
        [ "$status" -eq 0 ]
    done
    for type in Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S \
                IQ1_M TQ1_0 TQ2_0 NVFP4 Q1_0 Q2_0; do
        gguf-synth m.gguf --layers 1 --experts 2 --type $type --force
        run gguf-inspect --check m.gguf
        [ "$status" -eq 0 ]
    done
}

@test "the shape of Qwen3-Next-80B-A3B: 843 tensors" {
    run gguf-synth --dry-run --shape qwen3-next-80b --type Q4_K x
    [ "$status" -eq 0 ]
    [[ ${lines[-1]} == *"843 tensors"* ]]
    run gguf-synth --dry-run --shape qwen3-next-80b --type Q4_K --legacy-ssm-in x
    [[ $output == *"807 tensors"* ]]
    [ ! -e x ]
}

@test "layouts" {
    small m.gguf --fused-gate-up
    gguf-inspect --tensors blk m.gguf | grep -q "blk.2.ffn_gate_up_exps.weight"
    small m.gguf --legacy-ssm-in --force
    gguf-inspect --tensors blk m.gguf | grep -q "blk.0.ssm_in.weight"
    small m.gguf --mtp --force
    gguf-inspect --tensors blk m.gguf | grep -q "blk.3.nextn.eh_proj.weight"
    gguf-inspect --kv qwen3next m.gguf | grep -qE "qwen3next.block_count .*4"
    gguf-inspect --kv qwen3next m.gguf | grep -qE "nextn_predict_layers .*1"
}

@test "--pack: the experts in a pack, the same model" {
    for o in "" "--fused-gate-up --seed 3" "--mtp --type-down Q6_K"; do
        gguf-synth a.gguf --force $o
        gguf-synth b.gguf --pack b.xpack --force $o
        [ "$(gguf-inspect --tensors _exps b.gguf | grep -c _exps)" -eq 0 ]
        expert-pack --verify b.xpack
        expert-pack --unpack b.gguf -o c.gguf --force
        gguf-inspect --diff a.gguf c.gguf
    done
    run gguf-synth --pack z.xpack --dry-run z.gguf
    [[ $output == *pack*"MiB"* ]]
    [ ! -e z.gguf ] && [ ! -e z.xpack ]
}

@test "--pack: both files or none" {
    echo keep >b.xpack
    run gguf-synth b.gguf --pack b.xpack
    [ "$status" -eq 1 ]
    [ "$(cat b.xpack)" = keep ] && [ "$(ls)" = b.xpack ]
    run bash -c 'ulimit -f 3000; gguf-synth n.gguf --pack n.xpack'
    [ "$status" -eq 1 ]
    [ "$(ls)" = b.xpack ]
    mkdir d
    run gguf-synth n.gguf --pack d/n.xpack
    [ "$status" -eq 1 ]
    [[ $output == *folder* ]]
    [ "$(find . -type f)" = ./b.xpack ]
}

@test "types by option" {
    small m.gguf --type Q8_0 --type-down Q5_0 --tensor-type '^output=F16' \
        --tensor-type 'blk\.1\..*_exps=Q4_1'
    gguf-inspect --tensors weight m.gguf >t
    grep "blk.0.ffn_down_exps.weight" t | grep -q q5_0
    grep "blk.0.ffn_up_exps.weight" t | grep -q q8_0
    grep "blk.1.ffn_down_exps.weight" t | grep -q q4_1
    grep "output.weight" t | grep -q f16
}

@test "a row that is no whole number of blocks falls back to q8_0" {
    small m.gguf --type Q4_K
    gguf-inspect --tensors blk m.gguf | grep "ffn_down_exps" | grep -q q8_0
}

@test "the tokenizer of another file" {
    small with.gguf
    run small m.gguf --vocab-from with.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"no vocabulary"* ]]
    [ ! -e m.gguf ]
}

@test "existing files, full disk, wrong usage" {
    echo keep >m.gguf
    run small m.gguf
    [ "$status" -eq 1 ]
    [ "$(cat m.gguf)" = keep ]
    run bash -c 'ulimit -f 60; gguf-synth n.gguf --layers 2'
    [ "$status" -eq 1 ]
    [ "$(ls)" = m.gguf ]
    for args in "" "--type Q9 n" "--type Q8_1 n" "--shape huge n" "--layers 0x n" "--heads 3 n" \
                "--experts 1 n" "--routing-skew -1 n" "--tensor-type x n" "--tensor-type (=F16 n" \
                "--fused-gate-up --type-up F16 n" "--embd 99999999 n" "--layers 0 n" "--rope-dims 0 n" "-t -1 n" "a b"; do
        run gguf-synth $args
        [ "$status" -eq 2 ]
    done
}

@test "--help names every option" {
    run gguf-synth --help
    [ "$status" -eq 0 ]
    for o in --shape --type --type-down --tensor-type --seed --routing-skew --fused-gate-up \
             --legacy-ssm-in --mtp --pack --vocab-from --threads --force --dry-run --layers --embd \
             --vocab --experts --experts-used --ff; do
        grep -q -- "$o" <<<"$output"
    done
}
