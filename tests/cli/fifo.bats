# FIFOs: refused where a file is mapped, read where a text is.

setup_file() {
    cd "$BATS_FILE_TMPDIR" || exit
    gguf-synth m.gguf --embd 64 --ff 32 --ff-shared 32 --experts 4 --vocab 40 --layers 3 \
        --interval 2 --head-dim 32 --rope-dims 8 --ssm-state 16 --type F32 2>/dev/null
}

setup() {
    IN=$BATS_FILE_TMPDIR
    cd "$BATS_TEST_TMPDIR" || exit
}

@test "a FIFO in the place of a model, a pack or a matrix is not waited for" {
    mkfifo fifo
    local command
    for command in "gguf-inspect fifo" "gguf-hash fifo" "gguf-quant --dry-run fifo Q8_0" \
        "gguf-quant --dry-run --imatrix fifo $IN/m.gguf Q8_0" "expert-pack --info fifo" \
        "expert-pack --verify fifo" "expert-pack --repair fifo $IN/m.gguf" "gguf-split fifo part"; do
        run timeout 5 $command
        [ "$status" -eq 1 ] || { echo "$command: $status"; return 1; }
        [[ $output == *"not a regular file"* ]] || { echo "$command: $output"; return 1; }
    done
}

@test "a plan from a pipe" {
    gguf-quant --dry-run --plan-out plan.txt "$IN/m.gguf" Q8_0 >first
    gguf-quant --dry-run --plan-in <(cat plan.txt) "$IN/m.gguf" >second
    grep "quant size" first | diff - <(grep "quant size" second)
}
