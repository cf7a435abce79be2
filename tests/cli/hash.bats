# gguf-hash: llama-gguf-hash's lines, checking, and what goes wrong.

# shellcheck disable=SC2086 # lists of options are meant to be split

load gguf_image

setup() {
    DATA=$PWD/tests/data/gguf
    T=$BATS_TEST_TMPDIR
    cd "$T" || exit
    cp "$DATA/tiny.Q4_K_M.gguf" m.gguf
}

@test "the lines of llama-gguf-hash, byte for byte" {
    cd "$DATA"
    gguf-hash --all --uuid tiny.Q4_K_M.gguf | cmp - tiny.Q4_K_M.manifest
}

@test "xxh64 alone by default; --no-layer leaves the model's line" {
    run gguf-hash m.gguf
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 13 ]
    [ "${lines[12]}" = "xxh64     2e91277d53db6abc  m.gguf" ]
    run gguf-hash --no-layer --uuid m.gguf
    [ "$output" = "uuid      5945f100-08a1-56e2-a038-0645d73eba55  m.gguf" ]
}

@test "a manifest written with -o checks" {
    gguf-hash --all --uuid m.gguf -o m.manifest
    sed 's/m\.gguf/tiny.Q4_K_M.gguf/' m.manifest | cmp - "$DATA/tiny.Q4_K_M.manifest"
    run gguf-hash -c m.manifest m.gguf
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = "manifest  m.manifest  sha256  sha1  xxh64  uuid" ]
    [[ ${lines[1]} == sha256*"m.gguf:output.weight  -  Ok" ]]
    [ "${lines[-1]}" = "Verification results for m.manifest - Success" ]
    run gguf-hash -c m.manifest --uuid --no-layer m.gguf
    [ "$status" -eq 0 ]
    [ "${lines[1]}" = "uuid      5945f100-08a1-56e2-a038-0645d73eba55  m.gguf  -  Ok" ]
}

@test "the manifest's folder does not matter" {
    mkdir sub
    gguf-hash m.gguf -o m.manifest
    cp m.gguf sub
    run gguf-hash -c m.manifest sub/m.gguf
    [ "$status" -eq 0 ]
    (cd sub && gguf-hash "$T/m.gguf" -o abs.manifest && gguf-hash -c abs.manifest m.gguf)
}

@test "one flipped bit is a mismatch of its tensor and of the model" {
    gguf-hash --sha256 m.gguf -o m.manifest
    poke m.gguf $(($(data_at m.gguf blk.0.attn_q.weight) + 100)) '\xff'
    run gguf-hash -c m.manifest m.gguf
    [ "$status" -eq 1 ]
    [ "$(grep -c 'Mismatch' <<<"$output")" -eq 2 ]
    grep -q 'm.gguf:blk.0.attn_q.weight  -  Mismatch' <<<"$output"
    grep -q 'm.gguf  -  Mismatch' <<<"$output"
    grep -q 'results for m.manifest - Failure' <<<"$output"
}

@test "a tensor that is only in the file, or only in the manifest" {
    gguf-hash m.gguf | grep -v attn_q >m.manifest
    run gguf-hash -c m.manifest m.gguf
    [ "$status" -eq 1 ]
    grep -q 'attn_q.weight  -  Not Found' <<<"$output"
    { gguf-hash m.gguf; echo "xxh64     0123456789abcdef  m.gguf:more.weight"; } >m.manifest
    run gguf-hash -c m.manifest m.gguf
    [ "$status" -eq 1 ]
    grep -q "names 'more.weight', which is not in the file" <<<"$output"
}

@test "a manifest about another file" {
    gguf-hash m.gguf | sed 's/m\.gguf/n.gguf/' >m.manifest
    run gguf-hash -c m.manifest m.gguf
    [ "$status" -eq 1 ]
    [ "$output" = "gguf-hash: m.manifest has no line about m.gguf" ]
    run gguf-hash -c nowhere m.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"cannot read nowhere: No such file"* ]]
}

@test "a split set counts as one model, --one-shard as a file" {
    gguf-split --split-max-tensors 5 m.gguf s >/dev/null
    run gguf-hash --no-layer s-00001-of-00003.gguf
    [ "$output" = "xxh64     2e91277d53db6abc  s-00001-of-00003.gguf" ]
    run gguf-hash --one-shard s-00002-of-00003.gguf
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 6 ]
    [ "${lines[0]%%  s-*}" = "$(gguf-hash m.gguf | sed -n 's/  m.gguf:blk.0.attn_output.weight//p')" ]
}

@test "no tensors: the digests of nothing" {
    { gguf_head 3 0 0; } | gguf_pad 32 >empty.gguf
    run gguf-hash --all empty.gguf
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = "xxh64     ef46db3751d8e999  empty.gguf" ]
    [ "${lines[1]}" = "sha1      $(sha1sum </dev/null | cut -c-40)  empty.gguf" ]
    [ "${lines[2]}" = "sha256    $(sha256sum </dev/null | cut -c-64)  empty.gguf" ]
}

@test "alignment 64 and version 2" {
    { { gguf_head 2 2 1; gguf_key_u32 general.alignment 64
        gguf_tensor a 24 0 5; gguf_tensor b 24 64 3; } | gguf_pad 64
      { printf hello | gguf_pad 64; printf abc; } | gguf_pad 64; } >a.gguf
    run gguf-hash --sha1 a.gguf
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = "sha1      $(printf hello | sha1sum | cut -c-40)  a.gguf:a" ]
    [ "${lines[1]}" = "sha1      $(printf abc | sha1sum | cut -c-40)  a.gguf:b" ]
    [ "${lines[2]}" = "sha1      $(printf helloabc | sha1sum | cut -c-40)  a.gguf" ]
}

@test "--json" {
    run gguf-hash --json --sha1 m.gguf
    [ "$status" -eq 0 ]
    grep -q '"name": "blk.0.attn_q.weight"' <<<"$output"
    grep -q '"sha1": "b305b414f9cb904bfc74d27f7190edd84a8bc02c"' <<<"$output"
}

@test "bad input: one sentence, exit 1, nothing written" {
    run gguf-hash nowhere.gguf
    [ "$status" -eq 1 ]
    [ "$output" = "gguf-hash: cannot open nowhere.gguf: No such file or directory" ]
    echo "this is no model" >t.txt
    run gguf-hash t.txt -o t.manifest
    [ "$status" -eq 1 ]
    [[ $output == *"not a GGUF file"* ]]
    [ ! -e t.manifest ]
    truncate -s 100000 m.gguf
    run gguf-hash m.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"but the file has only 100000"* ]]
}

@test "an existing manifest is replaced only with --force" {
    echo keep >m.manifest
    run gguf-hash m.gguf -o m.manifest
    [ "$status" -eq 1 ]
    [ "$(cat m.manifest)" = keep ]
    gguf-hash m.gguf -o m.manifest --force
    [ "$(wc -l <m.manifest)" -eq 13 ]
    [ "$(echo * | wc -w)" -eq 2 ]
}

@test "wrong usage is exit 2" {
    for args in "" "--nonsense m.gguf" "m.gguf n.gguf" "-c" "-c a -o b m.gguf" "--force m.gguf"; do
        run gguf-hash $args
        [ "$status" -eq 2 ]
    done
}

@test "--help names every option" {
    run gguf-hash --help
    [ "$status" -eq 0 ]
    for o in --xxh64 --sha1 --sha256 --uuid --all --no-layer --one-shard --check --manifest \
             --force --json; do
        grep -q -- "$o" <<<"$output"
    done
}

@test "a full disk is an error" {
    [ -e /dev/full ] || skip "no /dev/full"
    run bash -c 'gguf-hash m.gguf >/dev/full'
    [ "$status" -eq 1 ]
    [[ $output == *"cannot write to standard output"* ]]
}
