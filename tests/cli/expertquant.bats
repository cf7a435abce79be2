# gguf-quant --expert-pack: types for each expert under one size, straight into a pack.

bats_require_minimum_version 1.5.0

setup_file() {
    export DATA=$PWD/tests/data/quant ROOT=$PWD
    cd "$BATS_FILE_TMPDIR" || exit
    zstd -q -d -o moe.gguf "$DATA/moe-bf16.gguf.zst"
    zstd -q -d -o mini.gguf "$ROOT/samples/q3n-mini-bf16.gguf.zst"
    cp "$DATA/moe.imatrix.gguf" "$ROOT/samples/q3n-mini.imatrix.gguf" .
    gguf-quant -q --json --imatrix q3n-mini.imatrix.gguf --types k --target-size 16M \
        --expert-pack mixed mini.gguf >mixed.json
}

setup() {
    IN=$BATS_FILE_TMPDIR
    cd "$BATS_TEST_TMPDIR" || exit
}

moe() { gguf-quant -q --imatrix "$IN/moe.imatrix.gguf" "$@"; }
bytes() { cat "$@" | wc -c; }
digests() { gguf-hash --sha256 "$1" | sed -n "s|^sha256 *\([0-9a-f]*\)  $1:|\1  |p"; }

@test "both files together have the size asked for, less 0.1 % at most" {
    both=$(bytes "$IN/mixed.gguf" "$IN/mixed.xpack")
    [ "$both" -le 16777216 ]
    [ "$both" -ge 16760439 ]
    [ "$both" -eq "$(jq '.dense_bytes + .pack_bytes' "$IN/mixed.json")" ]
    jq -e '.dual_gap >= 0 and .dual_gap < 0.01 * .cost' "$IN/mixed.json"
}

@test "what is printed is what the pack holds" {
    expert-pack --info --json "$IN/mixed.gguf" >info.json
    for part in gate_up:gate gate_up:up down:down; do
        [ "$(jq -S "[.layers[].${part%:*}.types]" "$IN/mixed.json")" = \
          "$(jq -S "[.layers[].types.${part#*:}]" info.json)" ]
    done
    jq -e '[.layers[].gate] | index("mixed")' info.json
    # Used more, stored better.
    jq -e '.use | .hot.down.bits_per_weight > .cold.down.bits_per_weight' "$IN/mixed.json"
    jq -e '[.use[].experts] | add == 128' "$IN/mixed.json"
    jq -e '[.use[].share] | add | . > 0.999 and . < 1.001' "$IN/mixed.json"
    expert-pack --info "$IN/mixed.gguf" | grep -q '^       down  .*q[0-9]_K, '
    gguf-inspect "$IN/mixed.xpack" >records
    [ "$(grep -c '^blk' records)" = 128 ]
}

@test "a mixed pack verifies, runs, and is not to be unpacked" {
    run -0 expert-pack --verify "$IN/mixed.gguf"
    [[ $output == *"128 records, 0 damages"* ]]
    run -0 q3n-run -m "$IN/mixed.gguf" -p "The " -n 3 --temp 0
    for dry in "" --dry-run; do
        run -1 expert-pack --unpack $dry "$IN/mixed.gguf" -o back.gguf
        [[ $output == *"a plain GGUF has one type for all experts of a block"* ]]
    done
    [ -z "$(ls)" ]
}

@test "a damaged record of it comes back from a copy" {
    cp "$IN/mixed.gguf" "$IN/mixed.xpack" .
    printf x | dd of=mixed.xpack bs=1 seek=300000 conv=notrunc status=none
    run -1 expert-pack --verify mixed.gguf
    run -1 expert-pack --repair "$IN/mini.gguf" mixed.xpack
    [[ $output == *"can be repaired from a copy of the pack"* ]]
    run -0 expert-pack --repair "$IN/mixed.xpack" mixed.xpack
    [[ $output == *"1 repaired"* ]]
    cmp mixed.xpack "$IN/mixed.xpack"
}

@test "the same bytes with one thread and with four" {
    moe --target-bpw 4 --expert-pack a "$IN/moe.gguf" 1
    mkdir four
    moe --target-bpw 4 --expert-pack four/a.gguf "$IN/moe.gguf" AUTO 4
    cmp a.gguf four/a.gguf
    cmp a.xpack four/a.xpack
}

# With one type for all experts the pack can become a GGUF, whose tensors are then those
# that gguf-quant writes without a pack.
@test "one type for all: the pack has the bytes of a plain file" {
    moe --tensor-type _exps=q4_K --tensor-type attn=q6_K --tensor-type output=q6_K \
        --tensor-type token_embd=q6_K --target-size 1M --expert-pack p "$IN/moe.gguf"
    expert-pack --unpack --dry-run p.gguf -o back.gguf >planned
    expert-pack --unpack p.gguf -o back.gguf
    [ "$(stat -c '%n  %s bytes' back.gguf)" = "$(cat planned)" ]
    moe --tensor-type _exps=q4_K --tensor-type attn=q6_K --tensor-type output=q6_K \
        --tensor-type token_embd=q6_K --pure "$IN/moe.gguf" plain.gguf Q8_0
    [ "$(digests back.gguf | sort -k2)" = "$(digests plain.gguf | sort -k2)" ]
    [ "$(digests plain.gguf | wc -l)" -gt 10 ]
}

@test "a size too small: the least that will do is named, and does" {
    run -1 moe --target-size 100k --expert-pack p "$IN/moe.gguf"
    [[ $output =~ "smallest pair of files that the candidate types and the floors allow has "([0-9]+)" bytes" ]]
    least=${BASH_REMATCH[1]}
    [ -z "$(ls)" ]
    moe --target-size "$least" --expert-pack p "$IN/moe.gguf"
    [ "$(bytes p.gguf p.xpack)" -le "$least" ]
    run -1 moe --target-bpw 1 --expert-pack q "$IN/moe.gguf"
    [[ $output == *"fewest bits for a weight"* ]]
}

@test "--dry-run writes nothing and says what is used how much" {
    run -0 gguf-quant --imatrix "$IN/moe.imatrix.gguf" --dry-run --target-bpw 4 \
        --expert-pack p "$IN/moe.gguf"
    [ -z "$(ls)" ]
    [[ $output == *"hot "*"warm "*"cold "* ]]
    [[ $output == *"no choice of this size below"* ]]
    run -0 moe --dry-run --json --target-bpw 4 --expert-pack p "$IN/moe.gguf"
    jq -e '.use.cold.unseen == 1' <<<"$output"
}

@test "nothing is replaced without --force, and an interrupted run leaves nothing" {
    echo old >p.xpack
    run -1 moe --target-bpw 4 --expert-pack p "$IN/moe.gguf"
    [[ $output == *"p.xpack exists already"* ]]
    [ "$(ls)" = p.xpack ]
    moe --force --target-bpw 4 --expert-pack p "$IN/moe.gguf"
    [ "$(echo *)" = "p.gguf p.xpack" ]
    rm p.*
    gguf-quant -q --imatrix "$IN/q3n-mini.imatrix.gguf" --types k --target-size 16M \
        --expert-pack p "$IN/mini.gguf" 1 &
    for ((i = 0; i < 400; i++)); do
        compgen -G 'p.xpack.partial.*' >/dev/null && break
        sleep 0.05
    done
    kill -INT $!
    run ! wait $!
    [ -z "$(ls)" ]
}

@test "what cannot be" {
    run -2 gguf-quant --imatrix "$IN/moe.imatrix.gguf" --expert-pack p "$IN/moe.gguf" Q4_K_M
    [[ $output == *"--expert-pack needs --target-size"* ]]
    run -2 gguf-quant --target-size 1M --expert-pack p "$IN/moe.gguf"
    [[ $output == *"--expert-pack needs --imatrix"* ]]
    run -2 moe --target-size 1M --prune-layers 0 --expert-pack p "$IN/moe.gguf"
    run -2 moe --target-size 1M --plan-out f --expert-pack p "$IN/moe.gguf"
    run -2 moe --target-size 1M --compat --expert-pack p "$IN/moe.gguf"
    run -2 moe --target-size 1M --expert-pack p "$IN/moe.gguf" out.gguf
    zstd -q -d -o tiny.gguf "$DATA/tiny-bf16.gguf.zst"
    run -1 gguf-quant -q --imatrix "$DATA/tiny.imatrix.gguf" --target-bpw 6 --expert-pack p tiny.gguf
    [[ $output == *"no routed experts"* ]]
    ln -s "$IN/moe.gguf" p.gguf
    run -1 moe --force --target-bpw 4 --expert-pack p "$IN/moe.gguf"
    [[ $output == *"is read from, it is not replaced"* ]]
    [ "$(echo *)" = "p.gguf tiny.gguf" ]
}
