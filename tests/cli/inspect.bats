# gguf-inspect: what it shows, finds and refuses.

# shellcheck disable=SC2086 # lists of options are meant to be split

load gguf_image

setup() {
    DATA=$PWD/tests/data/gguf
    T=$BATS_TEST_TMPDIR
    cd "$T" || exit
    cp "$DATA/tiny.Q4_K_M.gguf" m.gguf
    MOE=$DATA/moe.imat.Q4_K_M.gguf
}

# Two tensors of 256 f32 and q8_0 values with a key, alignment 32, data at $2 or next.
two_tensors() { # file, offset of the second, size of the file's data
    { { gguf_head 3 2 1; gguf_key_string general.architecture none
        gguf_tensor a.weight 0 0 64; gguf_tensor b.weight 8 "$2" 32 2; } | gguf_pad 32
      head -c "$3" /dev/zero; } >"$1"
}

@test "the first page: header, roles, types, layers" {
    run gguf-inspect "$MOE"
    [ "$status" -eq 0 ]
    grep -q '^format  *GGUF version 3, alignment 32, 20 keys, 13 tensors$' <<<"$output"
    grep -q '^experts  *4 per layer, 2 used; one is' <<<"$output"
    grep -qE '^experts +3 +786 K +[0-9.]+ KiB' <<<"$output"
    grep -qE '^all +13 ' <<<"$output"
    grep -qE '^q6_K ' <<<"$output"
    grep -qE '^ +0  attention .* q4_K  q4_K  q6_K ' <<<"$output"
}

@test "the sums by role and by type are the file's" {
    gguf-inspect --json "$MOE" >j
    python3 - j <<'P' || [ $? -eq 127 ]
import json, sys
j = json.load(open(sys.argv[1]))
for part in "roles", "types":
    for what in "tensors", "parameters", "bytes":
        assert sum(v[what] for v in j[part].values()) == j[what], (part, what)
assert j["layers"][0]["expert_bytes"] * 4 == j["roles"]["experts"]["bytes"]
P
}

@test "--tensors: shape, type, bytes, offset, bytes per expert" {
    run gguf-inspect "$MOE" --tensors '_exps'
    [ "$status" -eq 0 ]
    [ "${lines[0]%% *}" = tensor ]
    [ "$(grep -c _exps <<<"$output")" -eq 3 ]
    [[ ${lines[1]} =~ ^"blk.0.ffn_down_exps.weight  [256, 256, 4]  q6_K"\ +215040\ +[0-9]+\ +53760$ ]]
    [[ ${lines[-1]} == "3 tensors, 786,432 parameters, "* ]]
    # The pattern may stand before the model, be attached, or be left out.
    [ "$(gguf-inspect --tensors _exps "$MOE")" = "$output" ]
    [ "$(gguf-inspect --tensors=_exps "$MOE")" = "$output" ]
    [[ $(gguf-inspect --tensors "$MOE") == *"13 tensors, "* ]]
    run gguf-inspect "$MOE" --tensors '^nothing$'
    [ "$status" -eq 0 ]
    [ "${lines[-1]}" = "0 tensors, 0 parameters, 0 B, 0.00 bits per weight" ]
}

@test "--kv: types and values, long ones abbreviated" {
    run gguf-inspect m.gguf --kv
    [ "$status" -eq 0 ]
    grep -qE '^general.architecture +string +llama$' <<<"$output"
    grep -qE '^general.file_type +u32 +15$' <<<"$output"
    { gguf_head 3 0 2; gguf_key_u32s a.list {1..20}
        gguf_key_string a.text "$(printf 'x%.0s' {1..200})"; } | gguf_pad 32 >long.gguf
    run gguf-inspect long.gguf --kv
    [ "${lines[1]}" = "a.list  u32[20]  [1, 2, 3, 4, 5, 6, 7, 8, ...]" ]
    [[ ${lines[2]} =~ ^a.text\ \ string\ \ \ x{96}\.\.\.$ ]]
    run gguf-inspect long.gguf --kv list --full
    [[ ${lines[1]} == *"8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]" ]]
    run gguf-inspect long.gguf --kv text --full
    [[ ${lines[1]} =~ x{200}$ ]]
}

@test "control characters of a file do not reach the terminal" {
    { gguf_head 3 0 1; gguf_key_string general.name $'a\e[31mred\nline\xff'; } | gguf_pad 32 >e.gguf
    for o in "" --kv "--kv --full"; do
        run gguf-inspect $o e.gguf
        [ "$status" -eq 0 ]
        [[ $output == *'a\x1b[31mred\nline\xff'* ]]
    done
    run gguf-inspect --json e.gguf
    [[ $output == *'"a\u001b[31mred\nline\ufffd"'* ]]
}

@test "a split set is one model" {
    gguf-split --split-max-tensors 5 m.gguf s >/dev/null
    run gguf-inspect s-00001-of-00003.gguf
    [ "$status" -eq 0 ]
    [[ ${lines[0]} == *" in 3 files)" ]]
    run gguf-inspect s-00001-of-00003.gguf --tensors
    [[ ${lines[0]} =~ file\ +offset ]]
    [[ ${lines[-1]} == "12 tensors, "* ]]
    gguf-inspect --check s-00001-of-00003.gguf
    run gguf-inspect m.gguf --diff s-00001-of-00003.gguf
    [ "$status" -eq 1 ]
    [ "${lines[-1]}" = "12 tensors equal, 0 differ" ]
}

@test "data missing: the header is shown, with a warning" {
    head -c 100000 m.gguf >cut.gguf
    gguf-inspect cut.gguf >out 2>warning
    grep -q 'bytes of data are missing' warning
    [ "$(tail -n +2 out)" = "$(gguf-inspect m.gguf | tail -n +2)" ]
    run gguf-inspect --check cut.gguf
    [ "$status" -eq 1 ]
    grep -q 'bytes of data are missing: the file ends at 100000' <<<"$output"
    head -c 1100 m.gguf >cut.gguf
    run gguf-inspect cut.gguf
    [ "$status" -eq 1 ]
    [[ $output == *"file ends inside"* ]]
}

@test "--check: a sound file" {
    for f in m.gguf "$MOE"; do
        run gguf-inspect --check $f
        [ "$status" -eq 0 ]
        [[ $output == "good: "*"no problems" ]]
    done
}

@test "--check: scales and values that are not numbers" {
    at=$(data_at m.gguf blk.0.attn_q.weight)
    poke m.gguf $((at + 144)) '\x00\x7c'
    poke m.gguf $(($(data_at m.gguf blk.0.attn_norm.weight) + 8)) '\x00\x00\xc0\x7f'
    run gguf-inspect --check m.gguf
    [ "$status" -eq 1 ]
    grep -qF "blk.0.attn_q.weight: a block's scale is infinite or not a number at byte $((at + 144)) (row 1, column 0)" <<<"$output"
    grep -q '^blk.0.attn_norm.weight: a value is .* (row 0, column 2)$' <<<"$output"
    grep -q '^bad: .* 2 problems$' <<<"$output"
    cp "$MOE" moe.gguf
    chmod u+w moe.gguf
    at=$(($(data_at moe.gguf blk.0.ffn_down_exps.weight) + 2 * 53760 + 210 * 3 + 208))
    poke moe.gguf $at '\x00\xfc'
    run gguf-inspect --check moe.gguf
    [ "$status" -eq 1 ]
    grep -q 'ffn_down_exps.weight: .* (expert 2, row 3, column 0)$' <<<"$output"
}

@test "--check: padding, gaps, order, size" {
    two_tensors good.gguf 256 352
    gguf-inspect --check good.gguf
    at=$(data_at good.gguf b.weight)

    cp good.gguf pad.gguf
    poke pad.gguf $((at + 70)) 'x'
    run gguf-inspect --check pad.gguf
    [ "$status" -eq 1 ]
    [ "${lines[0]}" = "pad.gguf: padding behind b.weight is 0x78 at byte $((at + 70)), expected zeros" ]

    cp good.gguf head.gguf
    poke head.gguf $((at - 257)) 'x'
    run gguf-inspect --check head.gguf
    [[ ${lines[0]} == "head.gguf: padding behind the header is 0x78"* ]]

    head -c $((at + 68)) good.gguf >short.gguf
    run gguf-inspect --check short.gguf
    [ "$status" -eq 1 ]
    [[ ${lines[0]} == "short.gguf: the padding behind the last tensor is cut: the file ends at $((at + 68)), expected $((at + 96))" ]]

    { cat good.gguf; printf more; } >long.gguf
    run gguf-inspect --check long.gguf
    [ "$status" -eq 1 ]
    [ "${lines[0]}" = "long.gguf: 4 bytes lie behind the last tensor" ]

    two_tensors gap.gguf 320 416
    run gguf-inspect --check gap.gguf
    [ "$status" -eq 1 ]
    [[ ${lines[0]} == "gap.gguf: a gap of 64 bytes before 'b.weight'"* ]]

    { { gguf_head 3 2 0; gguf_tensor a 0 32 8; gguf_tensor b 0 0 8; } | gguf_pad 32
      head -c 64 /dev/zero; } >order.gguf
    run gguf-inspect --check order.gguf
    [ "$status" -eq 1 ]
    [ "${lines[0]}" = "order.gguf: the data of 'b' lies before that of 'a'" ]
}

@test "--check --json" {
    poke m.gguf $(($(data_at m.gguf blk.0.attn_q.weight) + 144)) '\x00\x7c'
    run gguf-inspect --check --json m.gguf
    [ "$status" -eq 1 ]
    grep -q '"good": false' <<<"$output"
    grep -q "\"blk.0.attn_q.weight: a block's scale" <<<"$output"
}

@test "--diff: equal files" {
    cp m.gguf n.gguf
    run gguf-inspect m.gguf --diff n.gguf
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = "13 keys equal, 0 differ" ]
    [ "${lines[-1]}" = "12 tensors equal, 0 differ" ]
}

@test "--diff: a byte, a key, a tensor, a type" {
    cp m.gguf n.gguf
    poke n.gguf $(($(data_at n.gguf blk.0.attn_v.weight) + 1000)) '\xff'
    run gguf-inspect m.gguf --diff n.gguf
    [ "$status" -eq 1 ]
    grep -qE '^~ +blk.0.attn_v.weight .* data differs from byte 1000 on$' <<<"$output"
    [ "${lines[-1]}" = "11 tensors equal, 1 differ" ]
    run gguf-inspect m.gguf --diff "$MOE"
    [ "$status" -eq 1 ]
    grep -qE '^\+ +llama.expert_count +u32 4$' <<<"$output"
    grep -qE '^\+ +blk.0.ffn_down_exps.weight ' <<<"$output"
    grep -qE '^- +blk.0.ffn_down.weight ' <<<"$output"
    { gguf_head 3 1 0; gguf_tensor a 0 0 8; } | gguf_pad 32 >a.gguf
    { gguf_head 3 1 0; gguf_tensor a 1 0 4 2; } | gguf_pad 32 >b.gguf
    run gguf-inspect a.gguf -d b.gguf
    [ "$status" -eq 1 ]
    grep -qE '^~ +a +f32 \[8\] +f16 \[4, 2\]$' <<<"$output"
}

@test "odd files: no tensors, version 2, alignment 64" {
    { gguf_head 2 0 0; } | gguf_pad 32 >e.gguf
    for o in "" --tensors --kv --check --json; do
        run gguf-inspect $o e.gguf
        [ "$status" -eq 0 ]
    done
    { { gguf_head 2 1 1; gguf_key_u32 general.alignment 64; gguf_tensor blk.99999.x 24 0 5; } |
        gguf_pad 64; printf hello | gguf_pad 64; } >a.gguf
    run gguf-inspect a.gguf
    [ "$status" -eq 0 ]
    [[ $output == *"version 2, alignment 64"* ]]
    gguf-inspect --check a.gguf
}

@test "a pattern that is wrong or takes for ever" {
    run gguf-inspect m.gguf --tensors '('
    [ "$status" -eq 1 ]
    [[ $output == *"pattern '('"* ]]
    run timeout 20 gguf-inspect m.gguf --tensors '^(([a-z0-9._]+)+)+[^a-z0-9._]'
    [ "$status" -eq 1 ]
    [[ $output == *"too many steps"* ]]
}

@test "bad input and wrong usage" {
    run gguf-inspect nowhere.gguf
    [ "$status" -eq 1 ]
    [ "$output" = "gguf-inspect: cannot open nowhere.gguf: No such file or directory" ]
    echo "this is no model" >t.txt
    run gguf-inspect t.txt
    [ "$status" -eq 1 ]
    [[ $output == *"not a GGUF file"* ]]
    run gguf-inspect m.gguf --diff nowhere.gguf
    [ "$status" -eq 1 ]
    for args in "" "m.gguf n.gguf" "--nonsense m.gguf" "--full m.gguf" "m.gguf --diff"; do
        run gguf-inspect $args
        [ "$status" -eq 2 ]
    done
}

@test "--help names every option" {
    run gguf-inspect --help
    [ "$status" -eq 0 ]
    for o in --tensors --kv --full --check --diff --json; do grep -q -- "$o" <<<"$output"; done
}

@test "an expert pack: records, and a damaged one" {
    expert-pack "$MOE" -o p
    run gguf-inspect p.xpack
    [ "$status" -eq 0 ]
    grep -q '^experts  *4 in 1 layers' <<<"$output"
    grep -qE '^blk.0.expert.3 +q4_K +q4_K +q6_K +[0-9]+ +[0-9]+ ' <<<"$output"
    [ "$(gguf-inspect p.xpack --tensors 'expert\.[12]$' | wc -l)" -eq 3 ]
    gguf-inspect p.xpack --check
    grep -q '"expert": 3' <<<"$(gguf-inspect p.xpack --json)"
    run gguf-inspect p.gguf
    [[ $output == *"p.xpack: 4 experts in 1 layers, "*", made with this file"* ]]
    at=$(gguf-inspect p.xpack --json --tensors 'expert.2$' | sed -n '0,/"offset"/s/ *"offset": \([0-9]*\),/\1/p')
    poke p.xpack $((at + 100)) 'xxxx'
    run gguf-inspect p.xpack --check
    [ "$status" -eq 1 ]
    grep -q '^expert 2 of block 0 is damaged' <<<"$output"
    rm p.xpack
    run gguf-inspect p.gguf
    [ "$status" -eq 0 ]
    grep -q '^expert pack  *p.xpack: cannot open' <<<"$output"
    run gguf-inspect --kv p.gguf --diff p.gguf
    [ "$status" -eq 0 ]
}
