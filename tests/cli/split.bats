# gguf-split: cutting, joining, names, keys, and what goes wrong.

# shellcheck disable=SC2086 # lists of options are meant to be split

load gguf_image

setup() {
    DATA=$PWD/tests/data/gguf
    T=$BATS_TEST_TMPDIR
    cd "$T" || exit
    cp "$DATA/tiny.Q4_K_M.gguf" m.gguf
}

digests() { gguf-hash --sha256 "$1" | sed "s/  $1/  /"; }
keys() { gguf-inspect "$1" --kv | tail -n +2 | awk '{print $1, $2, $3}'; }

@test "split by tensors: names, counts, keys" {
    run gguf-split --split --split-max-tensors 5 m.gguf s
    [ "$status" -eq 0 ]
    [ "$(echo *)" = "m.gguf s-00001-of-00003.gguf s-00002-of-00003.gguf s-00003-of-00003.gguf" ]
    run gguf-inspect s-00001-of-00003.gguf --kv
    [ "$(tail -3 <<<"$output" | awk '{print $1, $2, $3}')" = "split.no u16 0
split.tensors.count i32 12
split.count u16 3" ]
    # The other files hold these three keys and nothing else.
    [ "$(head -c 24 s-00002-of-00003.gguf | tail -c 8 | od -An -tu8 | tr -d ' ')" = 3 ]
    [ "$(grep -aoE 'split\.[a-z.]+' s-00002-of-00003.gguf | xargs)" = \
        "split.no split.tensors.count split.count" ]
}

@test "split and merge give back the tensors and the keys" {
    gguf-split --split-max-tensors 5 m.gguf s
    [ "$(digests s-00001-of-00003.gguf)" = "$(digests m.gguf)" ]
    gguf-split --merge s-00001-of-00003.gguf back.gguf
    [ "$(digests back.gguf)" = "$(digests m.gguf)" ]
    [ "$(keys back.gguf)" = "$(keys m.gguf; echo "split.no u16 0
split.tensors.count i32 12
split.count u16 0")" ]
    gguf-inspect --check back.gguf
    # Everything but the three keys is as it was.
    run gguf-inspect m.gguf --diff back.gguf --json
    [ "$(grep -c '"second"' <<<"$output")" -eq 3 ]
    [ "$(grep -c '"first"' <<<"$output")" -eq 0 ]
}

@test "every way to cut gives the same model" {
    for how in "--split-max-tensors 1" "--split-max-tensors 100" "--split-max-size 1M" \
               "--no-tensor-first-split --split-max-tensors 7"; do
        rm -f s-*
        gguf-split $how m.gguf s
        [ "$(digests s-00001-of-*.gguf)" = "$(digests m.gguf)" ]
        gguf-inspect --check s-00001-of-*.gguf
    done
    gguf-split --merge s-00001-of-00003.gguf back.gguf
    [ "$(digests back.gguf)" = "$(digests m.gguf)" ]
}

@test "one file is a set too" {
    gguf-split m.gguf one
    [ -e one-00001-of-00001.gguf ]
    gguf-split --merge one-00001-of-00001.gguf back.gguf
    [ "$(digests back.gguf)" = "$(digests m.gguf)" ]
}

@test "by size: decimal megabytes, a larger tensor in a file of its own" {
    # Four tensors of 400 kB, 400 kB, 1.2 MB, 100 kB.
    { { gguf_head 3 4 0; gguf_tensor a 24 0 400000; gguf_tensor b 24 400000 400000
        gguf_tensor c 24 800000 1200000; gguf_tensor d 24 2000000 100000; } | gguf_pad 32
      head -c 2100000 /dev/urandom; } | gguf_pad 32 >big.gguf
    run gguf-split --split-max-size 1M big.gguf s
    [ "$status" -eq 0 ]
    [ "$(awk '{print $2}' <<<"$output" | xargs)" = "2 1 1" ]
    run gguf-split --split-max-size 2M big.gguf t
    [ "$(awk '{print $2}' <<<"$output" | xargs)" = "3 1" ]
    [ "$(digests t-00001-of-00002.gguf)" = "$(digests big.gguf)" ]
}

@test "--no-tensor-first-split leaves metadata alone in the first file" {
    run gguf-split --no-tensor-first-split --split-max-tensors 6 m.gguf s
    [ "$(awk '{print $2}' <<<"$output" | xargs)" = "0 6 6" ]
}

@test "alignment 64 stays true in every file" {
    { { gguf_head 2 2 1; gguf_key_u32 general.alignment 64
        gguf_tensor a 24 0 5; gguf_tensor b 24 64 3; } | gguf_pad 64
      { printf hello | gguf_pad 64; printf abc; } | gguf_pad 64; } >a.gguf
    gguf-split --split-max-tensors 1 a.gguf s
    gguf-split --merge s-00001-of-00002.gguf back.gguf
    [ "$(digests back.gguf)" = "$(digests a.gguf)" ]
    gguf-inspect --check back.gguf
    gguf-inspect --check s-00001-of-00002.gguf
    [[ $(gguf-inspect back.gguf) == *"version 3, alignment 64"* ]]
    [ $(($(data_at back.gguf b) % 64)) -eq 0 ]
}

@test "no tensors" {
    { gguf_head 3 0 1; gguf_key_string general.name x; } | gguf_pad 32 >e.gguf
    gguf-split e.gguf s
    [ "$(keys s-00001-of-00001.gguf | head -1)" = "general.name string x" ]
    gguf-split --merge s-00001-of-00001.gguf back.gguf
    gguf-inspect --check back.gguf
}

@test "--dry-run writes nothing" {
    run gguf-split --dry-run --split-max-tensors 5 m.gguf s
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 3 ]
    [ "$(echo *)" = m.gguf ]
}

@test "existing files are replaced only with --force, and no file is left behind" {
    echo keep >s-00002-of-00003.gguf
    run gguf-split --split-max-tensors 5 m.gguf s
    [ "$status" -eq 1 ]
    [ "$(cat s-00002-of-00003.gguf)" = keep ]
    [ "$(echo * | wc -w)" -eq 2 ]
    gguf-split --split-max-tensors 5 --force m.gguf s
    [ "$(digests s-00001-of-00003.gguf)" = "$(digests m.gguf)" ]
}

@test "a size limit on files: error, nothing left" {
    run bash -c 'ulimit -f 100; gguf-split --split-max-tensors 5 m.gguf s'
    [ "$status" -eq 1 ]
    [[ $output == *"cannot write"* ]]
    [ "$(echo *)" = m.gguf ]
}

@test "missing and broken parts" {
    gguf-split --split-max-tensors 5 m.gguf s
    run gguf-split --merge m.gguf back.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"nothing to merge"* ]]
    run gguf-split --merge s-00002-of-00003.gguf back.gguf
    [ "$status" -eq 1 ]
    rm s-00003-of-00003.gguf
    run gguf-split --merge s-00001-of-00003.gguf back.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"s-00003-of-00003.gguf"* ]]
    run gguf-split nowhere.gguf s
    [ "$status" -eq 1 ]
    [ ! -e back.gguf ]
}

@test "wrong usage is exit 2" {
    for args in "" "m.gguf" "--split --merge m.gguf s" "--merge --split-max-tensors 3 m.gguf s" \
                "--split-max-tensors 0 m.gguf s" "--split-max-size 5 m.gguf s" \
                "--split-max-size 5m m.gguf s" "--split-max-size 0M m.gguf s" \
                "--split-max-size 1M --split-max-tensors 3 m.gguf s" "--nonsense m.gguf s"; do
        run gguf-split $args
        [ "$status" -eq 2 ]
    done
}

@test "--help names every option" {
    run gguf-split --help
    [ "$status" -eq 0 ]
    for o in --split --merge --split-max-tensors --split-max-size --no-tensor-first-split \
             --dry-run --force; do
        grep -q -- "$o" <<<"$output"
    done
}
