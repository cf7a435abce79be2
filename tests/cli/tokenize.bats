# q3n-tokenize on the Qwen3 vocabulary.

setup_file() {
    export VOCAB=$BATS_FILE_TMPDIR/vocab.gguf
    zstd -q -d -o "$VOCAB" tests/data/tokenizer/qwen3-vocab.gguf.zst
}

@test "a line for each token, and their count" {
    run q3n-tokenize -m "$VOCAB" -p "Hello 世界" --show-count
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = "  9707 -> 'Hello'" ]
    [ "${lines[1]}" = "   220 -> ' '" ]
    [ "${lines[2]}" = " 99489 -> '世界'" ]
    [ "${lines[3]}" = "Total number of tokens: 3" ]
}

@test "--ids from an argument, a file and standard input" {
    printf 'Hello world' >"$BATS_TEST_TMPDIR/t.txt"
    [ "$(q3n-tokenize -m "$VOCAB" -p 'Hello world' --ids)" = "[9707, 1879]" ]
    [ "$(q3n-tokenize -m "$VOCAB" -f "$BATS_TEST_TMPDIR/t.txt" --ids)" = "[9707, 1879]" ]
    [ "$(q3n-tokenize -m "$VOCAB" --stdin --ids <"$BATS_TEST_TMPDIR/t.txt")" = "[9707, 1879]" ]
    [ "$(q3n-tokenize -m "$VOCAB" -p '' --ids)" = "[]" ]
}

@test "control tokens are text with --no-parse-special" {
    [ "$(q3n-tokenize -m "$VOCAB" -p '<|im_end|>' --ids)" = "[151645]" ]
    [ "$(q3n-tokenize -m "$VOCAB" -p '<|im_end|>' --ids --no-parse-special)" = \
        "[27, 91, 318, 6213, 91, 29]" ]
    [ "$(q3n-tokenize -m "$VOCAB" -p '<think>' --ids --no-parse-special)" = "[151667]" ]
}

@test "--jsonl answers each line" {
    printf '%s\n' '{"text": "Hello"}' '{"text": ""}' '{"n": 1, "text": "a\u0000b"}' >"$BATS_TEST_TMPDIR/in"
    run q3n-tokenize -m "$VOCAB" --jsonl <"$BATS_TEST_TMPDIR/in"
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = '{"ids": [9707]}' ]
    [ "${lines[1]}" = '{"ids": []}' ]
    [ "${lines[2]}" = '{"ids": [64, 188, 65]}' ]
}

@test "--jsonl names the line that is wrong" {
    run bash -c 'printf "%s\n" "{\"text\": \"a\"}" "{\"text\": 1}" | q3n-tokenize -m "$VOCAB" --jsonl'
    [ "$status" -eq 1 ]
    [[ "$output" == *'line 2: no string "text"'* ]]
    run bash -c 'echo "{" | q3n-tokenize -m "$VOCAB" --jsonl'
    [ "$status" -eq 1 ]
    [[ "$output" == *"line 1: "* ]]
}

@test "--decode gives the text back" {
    [ "$(q3n-tokenize -m "$VOCAB" --decode 9707 1879)" = "Hello world" ]
    [ "$(q3n-tokenize -m "$VOCAB" --decode '[9707, 1879]' 151645)" = "Hello world<|im_end|>" ]
    q3n-tokenize -m "$VOCAB" -f samples/text/held-out.txt --ids |
        q3n-tokenize -m "$VOCAB" --decode | cmp - samples/text/held-out.txt
}

@test "--decode refuses what is no id" {
    run q3n-tokenize -m "$VOCAB" --decode 151936
    [ "$status" -eq 1 ]
    [[ "$output" == *"id 151936 is not below 151936"* ]]
    for bad in x 12x 99999999999; do
        run q3n-tokenize -m "$VOCAB" --decode "$bad"
        [ "$status" -eq 1 ]
        [[ "$output" == *"'$bad' is not a token id"* ]]
    done
}

@test "wrong usage ends with 2" {
    for args in "-p a" "-m $VOCAB" "-m $VOCAB -p a --stdin" "-m $VOCAB -p a 5" \
        "-m $VOCAB --jsonl --ids" "-m $VOCAB --decode --no-parse-special 1"; do
        run q3n-tokenize $args
        [ "$status" -eq 2 ]
    done
}

@test "a file without a vocabulary, and no file" {
    run q3n-tokenize -m "$BATS_TEST_TMPDIR/none.gguf" -p a
    [ "$status" -eq 1 ]
    printf 'GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' >"$BATS_TEST_TMPDIR/empty.gguf"
    run q3n-tokenize -m "$BATS_TEST_TMPDIR/empty.gguf" -p a
    [ "$status" -eq 1 ]
    [[ "$output" == *"tokenizer.ggml.model"* ]]
}
