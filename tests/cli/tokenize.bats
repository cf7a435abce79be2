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

# ---- Conversations

@test "--chat prints the prompt of a conversation, and its ids" {
    talk=$BATS_TEST_TMPDIR/talk.json
    printf '[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi <|im_end|>"}]' >"$talk"
    run q3n-tokenize -m "$VOCAB" --chat "$talk"
    [ "$output" = "<|im_start|>system
Be brief.<|im_end|>
<|im_start|>user
hi <|im_end|><|im_end|>
<|im_start|>assistant" ]
    run q3n-tokenize -m "$VOCAB" --chat "$talk" --ids
    [ "$output" = "[151644, 8948, 198, 3430, 9814, 13, 151645, 198, 151644, 872, 198, 6023, 82639, 318, 6213, 91, 29, 151645, 198, 151644, 77091, 198]" ]
}

@test "--chat: tools, variables, other templates" {
    talk=$BATS_TEST_TMPDIR/talk.json
    printf '{"messages": [{"role": "user", "content": "a"}], "tools": [{"name": "f"}],
        "add_generation_prompt": false}' >"$talk"
    q3n-tokenize -m "$VOCAB" --chat "$talk" | grep -q '^{"name": "f"}$'
    run q3n-tokenize -m "$VOCAB" --chat "$talk" --no-jinja
    [ "$output" = $'<|im_start|>user\na<|im_end|>' ]
    run q3n-tokenize -m "$VOCAB" --chat "$talk" --chat-template chatml
    [ "$output" = $'<|im_start|>user\na<|im_end|>' ]
    run q3n-tokenize -m "$VOCAB" --chat "$talk" --chat-template '{{ messages[0].content }}{{ x + 1 }}' \
        --chat-template-kwargs '{"x": 4}'
    [ "$output" = "a5" ]
    printf '{%% for m in messages %%}%s{%% endfor %%}\n' '<{{ m.role }}>' >"$BATS_TEST_TMPDIR/t.jinja"
    run q3n-tokenize -m "$VOCAB" --chat "$talk" --chat-template-file "$BATS_TEST_TMPDIR/t.jinja"
    [ "$output" = "<user>" ]
    echo '[{"role": "user", "content": "a"}]' >"$talk"
    q3n-tokenize -m "$VOCAB" --chat "$talk" --jinja --chat-template-kwargs '{"enable_thinking": false}' |
        tail -n 5 | tr '\n' '|' | grep -qF '<|im_start|>assistant|<think>||</think>|'
}

@test "--chat: what is wrong is said" {
    talk=$BATS_TEST_TMPDIR/talk.json
    echo '[{"role": "user", "content": "a"}]' >"$talk"
    run q3n-tokenize -m "$VOCAB" --chat "$talk" --chat-template "{% include 'x' %}"
    [ "$status" -eq 1 ]
    [[ "$output" == *"line 1: the tag 'include' is not supported"* ]]
    run q3n-tokenize -m "$VOCAB" --chat "$talk" --chat-template "{{ raise_exception('no tools here') }}"
    [ "$status" -eq 1 ]
    [[ "$output" == *"no tools here"* ]]
    run q3n-tokenize -m "$VOCAB" --chat "$talk" --chat-template nonsense
    [ "$status" -eq 1 ]
    run q3n-tokenize -m "$VOCAB" --chat "$talk" --chat-template-kwargs '[1]'
    [ "$status" -eq 1 ]
    echo '{"message": 1}' >"$talk"
    run q3n-tokenize -m "$VOCAB" --chat "$talk"
    [ "$status" -eq 1 ]
    [[ "$output" == *"no array of messages"* ]]
    echo '{"messages": [' >"$talk"
    run q3n-tokenize -m "$VOCAB" --chat "$talk"
    [ "$status" -eq 1 ]
    for args in "-p a --jinja" "--chat $talk --jinja --no-jinja" "--chat $talk --no-parse-special" \
        "--chat $talk --no-jinja --chat-template-kwargs {}" "--chat $talk --chat-template x --no-jinja" \
        "--chat $talk --jinja --chat-template x"; do
        run q3n-tokenize -m "$VOCAB" $args
        [ "$status" -eq 2 ]
    done
}
