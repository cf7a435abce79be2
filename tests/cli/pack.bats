# expert-pack: there and back, damage found and mended, and nothing left when it fails.

setup() {
    cd "$BATS_TEST_TMPDIR" || exit
}

# A small model with options of gguf-synth: m.gguf.
synth() {
    gguf-synth m.gguf --embd 64 --ff 32 --ff-shared 32 --experts 4 --vocab 40 --layers 3 \
        --interval 2 --head-dim 32 --rope-dims 8 --ssm-state 16 --type Q8_0 "$@" 2>/dev/null
}

# Flip a bit of byte $2 of a file.
flip() {
    local old
    old=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf "\\$(printf %03o $((old ^ 4)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# m.gguf packed with the given options and restored is m.gguf.
there_and_back() {
    expert-pack m.gguf -o p "$@"
    expert-pack --unpack p.gguf -o back.gguf
    cmp m.gguf back.gguf
    run expert-pack --verify p.gguf
    [ "$status" -eq 0 ]
    [[ $output == *" records, 0 damages"* ]]
}

@test "a model that is a symbolic link: its pack is beside the link, or beside the model" {
    mkdir real links
    synth
    expert-pack m.gguf -o real/m 2>/dev/null
    ln -s ../real/m.gguf links/m.gguf
    expert-pack --unpack links/m.gguf -o back.gguf
    cmp back.gguf m.gguf
    mv real/m.xpack links/
    expert-pack --unpack --force links/m.gguf -o back.gguf
    rm links/m.xpack
    run expert-pack --unpack --force links/m.gguf -o back.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"links/m.xpack"* ]]
}

@test "pack and unpack: the same bytes" {
    synth
    there_and_back
    [ "$(ls | tr '\n' ' ')" = "back.gguf m.gguf p.gguf p.xpack " ]
}

@test "pack and unpack: fused gate and up" {
    synth --fused-gate-up
    there_and_back
}

@test "pack and unpack: a type for each matrix, and a multi-token-prediction block" {
    synth --type-gate Q4_0 --type-up F16 --type-down Q5_1 --mtp
    there_and_back
    expert-pack --info p.xpack | grep -q "^ *3 .* q4_0 *f16 *q5_1 "
}

@test "pack and unpack: compressed" {
    synth --type F16
    there_and_back --zstd=5
    expert-pack --info p.xpack | grep -q "12 compressed to .* (zstd level 5)"
}

@test "pack and unpack: GGUF version 2" {
    synth
    printf '\2' | dd of=m.gguf bs=1 seek=4 conv=notrunc status=none
    there_and_back
}

@test "pack and unpack: bytes behind the tensors" {
    synth
    echo "more" >>m.gguf
    there_and_back
}

@test "pack and unpack: a split set" {
    synth
    gguf-split --split-max-tensors 9 m.gguf s
    rm m.gguf
    first=$(ls s-00001-of-*)
    expert-pack "$first" -o p
    [ "$(gguf-inspect --kv '^split' p.gguf | grep -c '^split')" -eq 0 ]
    expert-pack --unpack p.gguf -o back.gguf
    for part in s-*; do cmp "$part" "back${part#s}"; done
    [ "$(ls back* | wc -l)" -eq "$(ls s-* | wc -l)" ]
    expert-pack --unpack p.gguf --dry-run -o x | grep -q "was $first"
}

@test "the same bytes with any number of threads, compressed or not" {
    synth
    for z in "" --zstd; do
        expert-pack m.gguf -o a $z -t 1 --force
        cp a.xpack one
        expert-pack m.gguf -o a $z -t 5 --force
        cmp a.xpack one
    done
}

@test "the dense part is a GGUF with the other tensors" {
    synth
    expert-pack m.gguf -o p
    gguf-inspect --tensors weight p.gguf >t
    grep -q blk.2.attn_norm.weight t
    run grep -q _exps t
    [ "$status" -eq 1 ]
    gguf-inspect --kv expert_pack p.gguf | grep -q p.xpack
    run expert-pack p.gguf -o q
    [ "$status" -eq 1 ]
    [[ $output == *"packed model already"* ]]
}

@test "a flipped bit anywhere in a pack is found" {
    synth --layers 1
    expert-pack m.gguf -o p
    size=$(stat -c %s p.xpack)
    cp p.xpack good
    for ((at = 0; at < size; at += size / 60)); do
        flip p.xpack $at
        run expert-pack --verify p.xpack
        [ "$status" -eq 1 ]
        [[ $output == *"damaged"* || $output == *"expected"* || $output == *"not an expert"* ||
           $output == *"not all zeros"* ]]
        cp good p.xpack
    done
}

@test "a flipped bit in the dense part is found" {
    synth
    expert-pack m.gguf -o p
    flip p.gguf $(($(stat -c %s p.gguf) - 700))
    run expert-pack --verify p.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"tensor '"*"damaged"* ]]
    run expert-pack --unpack p.gguf -o back.gguf
    [ "$status" -eq 1 ]
    [ ! -e back.gguf ]
}

@test "--repair mends damaged records and padding, and nothing else will do" {
    synth
    for z in "" --zstd; do
        expert-pack m.gguf -o p $z --force
        cp p.xpack good
        flip p.xpack 20480
        flip p.xpack 70000
        run expert-pack --repair m.gguf p.xpack
        [ "$status" -eq 0 ]
        [[ $output == *"2 repaired"* ]]
        cmp p.xpack good
        run expert-pack --repair m.gguf p.xpack
        [ "$status" -eq 0 ]
        [[ $output == *"0 repaired"* ]]
    done
    flip p.xpack 20480
    cp p.xpack bad
    mv m.gguf right.gguf
    synth --seed 1
    run expert-pack --repair m.gguf p.xpack
    [ "$status" -eq 1 ]
    cmp p.xpack bad
    synth --force --ff 64
    run expert-pack --repair m.gguf p.xpack
    [ "$status" -eq 1 ]
    [[ $output == *"not the model that was packed"* ]]
    cmp p.xpack bad
    flip p.xpack 4100
    run expert-pack --repair right.gguf p.xpack
    [ "$status" -eq 1 ]
    [[ $output == *"root hash"* ]]
}

@test "a truncated pack" {
    synth
    expert-pack m.gguf -o p
    for size in 0 5 4000 4096 9000 30000 $(($(stat -c %s p.xpack) - 1)); do
        head -c "$size" p.xpack >short.xpack
        for how in --verify --info; do
            run expert-pack $how short.xpack
            [ "$status" -eq 1 ]
        done
        run expert-pack --unpack p.gguf --experts short.xpack -o back.gguf
        [ "$status" -eq 1 ]
        [ ! -e back.gguf ]
    done
}

@test "a pack elsewhere, and one of another model" {
    synth
    expert-pack m.gguf -o p
    synth --seed 7 --force
    expert-pack m.gguf -o q
    mkdir far
    mv p.xpack far/other-name
    run expert-pack --unpack p.gguf -o back.gguf
    [ "$status" -eq 1 ]
    [[ $output == *p.xpack* ]]
    run expert-pack --unpack p.gguf --experts q.xpack -o back.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"does not belong to"* ]]
    [ ! -e back.gguf ]
    expert-pack --verify p.gguf --experts far/other-name
    expert-pack --verify far/other-name
    expert-pack --unpack p.gguf --experts far/other-name -o back.gguf
}

@test "both files or none: existing ones, full disk" {
    synth
    echo keep >p.gguf
    run expert-pack m.gguf -o p
    [ "$status" -eq 1 ]
    [ "$(cat p.gguf)" = keep ]
    [ "$(ls | tr '\n' ' ')" = "m.gguf p.gguf " ]
    expert-pack m.gguf -o p.gguf --force
    [ "$(ls | tr '\n' ' ')" = "m.gguf p.gguf p.xpack " ]
    run bash -c 'ulimit -f 60; expert-pack m.gguf -o r'
    [ "$status" -eq 1 ]
    [[ $output == *"cannot write"* ]]
    run bash -c 'ulimit -f 60; expert-pack --unpack p.gguf -o back.gguf'
    [ "$status" -eq 1 ]
    [ "$(ls | tr '\n' ' ')" = "m.gguf p.gguf p.xpack " ]
}

@test "an input is never replaced" {
    synth
    cp m.gguf copy
    run expert-pack m.gguf -o m --force
    [ "$status" -eq 1 ]
    expert-pack m.gguf -o p
    cp p.gguf dense
    run expert-pack --unpack p.gguf -o p.gguf --force
    [ "$status" -eq 1 ]
    cmp m.gguf copy
    cmp p.gguf dense
    [ ! -e m.xpack ]
}

@test "SIGINT leaves nothing" {
    synth --experts 128 --layers 3 --type F32 --embd 128 --ff 128
    for try in 1 2 3 4 5; do
        rm -f p.*
        expert-pack --zstd=19 m.gguf -o p &
        pid=$!
        sleep "0.$((try * 2))"
        kill -INT "$pid" 2>/dev/null || continue
        wait "$pid" && continue
        break
    done
    [ "$(ls)" = m.gguf ]
}

@test "--dry-run writes nothing" {
    synth
    run expert-pack --dry-run m.gguf -o p
    [ "$status" -eq 0 ]
    [[ $output == *p.gguf*p.xpack*"12 experts of 3 layers"* ]]
    [ "$(ls)" = m.gguf ]
}

@test "--unpack --dry-run names the files that --unpack writes, with their sizes" {
    synth --fused-gate-up
    gguf-split --split-max-tensors 20 m.gguf m >/dev/null
    for model in m.gguf m-00001-of-*.gguf; do
        expert-pack --force "$model" -o p
        expert-pack --unpack --dry-run p.gguf -o back.gguf | sed 's/,.*//' >planned
        [ -z "$(compgen -G "*back*")" ]
        expert-pack --unpack p.gguf -o back.gguf
        stat -c '%n  %s bytes' back* | diff - planned
        rm back*
    done
}

@test "--info --json is JSON" {
    synth
    expert-pack m.gguf -o p
    run expert-pack --info --json p.gguf
    [ "$status" -eq 0 ]
    [[ $output == *'"records": 12'*'"name": "m.gguf"'* ]]
    command -v python3 >/dev/null || skip "no python3"
    expert-pack --info --json p.gguf | python3 -m json.tool >/dev/null
}

@test "wrong usage is exit 2" {
    synth
    for args in "" "m.gguf" "--unpack m.gguf" "--unpack --verify m.gguf" "m.gguf -o p --zstd=0" \
                "m.gguf -o p --zstd=23" "--verify m.gguf -o p" "--info m.gguf --force" \
                "--verify --json m.gguf" "--verify --dry-run m.gguf" "m.gguf -o p --json" \
                "--unpack --zstd m.gguf -o p" "m.gguf -o p --experts x" "m.gguf -o p -t -1" \
                "m.gguf p -o p" "--nonsense m.gguf"; do
        run expert-pack $args
        [ "$status" -eq 2 ]
    done
    [ "$(ls)" = m.gguf ]
}

@test "--help names every option" {
    run expert-pack --help
    [ "$status" -eq 0 ]
    for o in --output --zstd --unpack --verify --repair --info --json --experts --threads \
             --force --dry-run; do
        grep -q -- "$o" <<<"$output"
    done
}
