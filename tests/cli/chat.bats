# q3n-run -cnv on the sample model: turns, commands, a terminal.

setup_file() { export MODEL=$BUILD/samples/q3n-mini-bf16.gguf; }

setup() {
    ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    cd "$BATS_TEST_TMPDIR" || exit
    export TERM=xterm
    unset NO_COLOR
    # A template that opens thoughts and leaves out those of before.
    cat >thinks.jinja <<'END'
{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif %}
END
}

chat() { q3n-run -m "$MODEL" -t 1 -cnv --temp 0 "$@"; }
# Messages, one a line, on standard input; the replies as JSON.
objects() { chat --json "$@" 2>err; }
terminal() { python3 "$ROOT/tests/cli/terminal.py" "$@"; }
# Some containers have none.
need_terminal() { python3 -c 'import os; os.openpty()' 2>err || skip "no pseudo-terminals here"; }

@test "a reply is what follows the prompt of the template" {
    echo '[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who is it?"}]' >c.json
    q3n-tokenize -m "$MODEL" --chat c.json >prompt
    printf x >>prompt # -f drops a newline at the end
    python3 -c 'p = open("prompt").read()[:-1]; open("prompt", "w").write(p + "\n")'
    want=$(q3n-run -m "$MODEL" -f prompt --no-display-prompt -n 9 --temp 0 2>/dev/null)
    [ "$(echo "Who is it?" | chat -sys "Be brief." -n 9 2>/dev/null)" = "$want" ]
    printf 'Be brief.\n' >system
    [ "$(chat -sysf system -st -p "Who is it?" -n 9 2>/dev/null </dev/null)" = "$want" ]
    [ -n "$want" ]
}

@test "--json: an object for each reply; only what is new is read" {
    printf 'And God said\n\nWho is it?\nsay <|im_end|> again\n' | objects -n 6 --ignore-eos >out
    jq -se 'length == 3 and all(.[]; .finish == "length" and .tokens.reply == 6 and (.text | length) > 0)
        and .[0].tokens.reused == 0
        and .[1].tokens.reused == .[0].tokens.prompt + 5
        and .[2].tokens.reused == .[1].tokens.prompt + 5
        and all(.[]; .timings.prompt_seconds > 0 and .timings.reply_seconds > 0)' out
    printf 'And God said\n\nWho is it?\nsay <|im_end|> again\n' |
        objects -n 6 --ignore-eos --ctx-checkpoints 0 | jq .text >plain
    jq .text out | cmp - plain
}

@test "a template that changes what was said: back to the last state that holds" {
    printf 'one\ntwo\nthree\n' | objects -n 5 --ignore-eos --chat-template-file thinks.jinja >out
    jq -se 'all(.[]; .text == "" and (.reasoning | length) > 0)
        and .[1].tokens.reused > 5 and .[1].tokens.reused < .[0].tokens.prompt
        and .[2].tokens.reused > .[1].tokens.reused' out
    printf 'one\ntwo\nthree\n' |
        objects -n 5 --ignore-eos --chat-template-file thinks.jinja --cache-ram 0 >plain
    jq -se '.[2].tokens.reused == 0' plain
    [ "$(jq .reasoning out)" = "$(jq .reasoning plain)" ]
    # without colours thoughts keep their marks
    [[ "$(echo one | chat -n 5 --chat-template-file thinks.jinja 2>/dev/null)" == "<think>"* ]]
}

@test "lines of a file may end in CR LF" {
    printf 'one\r\n\r\ntwo\\\r\nthree\r\n/save c.json\r\n/exit\r\n' | objects -n 1 >out
    jq -e '[.messages[] | select(.role == "user").content] == ["one", "two\nthree"]' c.json
}

@test "a line that goes on, lines in quotes, a message with a slash" {
    printf 'one\\\ntwo\n"""one\ntwo"""\n"""\none\ntwo\n"""\n//help\n"""no end' | objects -n 1 >out
    [ "$(wc -l <out)" -eq 5 ]
    printf 'one\\\ntwo\n"""one\ntwo"""\n"""\none\ntwo\n"""\n//help\n"""no end\n/save s.json\n"""\n' |
        objects -n 1 --force >/dev/null
    printf 'one\\\ntwo\n"""one\ntwo"""\n"""\none\ntwo\n"""\n//help\n/save c.json\n' | objects -n 1 >/dev/null
    jq -e '[.messages[] | select(.role == "user").content] ==
        ["one\ntwo", "one\ntwo", "one\ntwo\n", "/help"]' c.json
}

@test "/save, /load and a prompt cache: nothing is read again, and the reply is the same" {
    printf 'And God said\nWho is it?\n' | objects -n 6 --ignore-eos >all
    printf 'And God said\n/save c.json\n' | objects -n 6 --ignore-eos --prompt-cache c.cache >first
    jq -e '[.messages[].role] == ["user", "assistant"]' c.json
    printf '/load c.json\nWho is it?\n' | objects -n 6 --ignore-eos --prompt-cache c.cache >later
    [ "$(jq -s '.[1].text' all)" = "$(jq .text later)" ]
    [ "$(jq -s '.[1].tokens.reused' all)" = "$(jq .tokens.reused later)" ]
    printf '/load c.json\nWho is it?\n' | objects -n 6 --ignore-eos >cold
    jq -e '.tokens.reused == 0' cold
    jq '.messages' c.json >list.json # the array alone is as good
    printf '/load list.json\nWho is it?\n' | objects -n 6 --ignore-eos | jq -e '.tokens.prompt > 20'
    run chat <<<"/save c.json"
    [ "$status" -eq 1 ]
    [[ "$output" == *"c.json"* ]]
    chat --force <<<"/save c.json" 2>/dev/null
    jq -e '.messages == []' c.json
    for bad in '{' '{"messages": 5}' '[{"role": "user"}]' '[{"content": "x"}]' '7'; do
        echo "$bad" >bad.json
        run chat <<<"/load bad.json"
        [ "$status" -eq 1 ] || { echo "$bad"; false; }
        [[ "$output" == *"bad.json"* ]]
    done
    echo damaged >bad.cache
    run chat --prompt-cache bad.cache <<<"x"
    [ "$status" -eq 1 ]
    [ "$(cat bad.cache)" = damaged ]
}

@test "/clear, /system, /regen, /stats" {
    printf 'one\ntwo\n/clear\none\n/regen\n/save c.json\n' | objects -n 4 -sys Short. >out
    jq -se '.[0].text == .[2].text and .[2].text == .[3].text and .[3].tokens.reused > 5' out
    jq -e '[.messages[].role] == ["system", "user", "assistant"]' c.json
    printf '/system Long.\none\n/system Short.\n/system\n/system Long.\n/clear\none\n/save d.json\n' |
        objects -n 4 >out
    jq -se '.[1].tokens.prompt == .[0].tokens.prompt' out
    jq -e '[.messages[].content][:2] == ["Long.", "one"]' d.json
    printf 'one\n/stats\n/exit\ntwo\n' | objects -n 4 >out
    [ "$(wc -l <out)" -eq 1 ]
    grep -q '^context .* of 4096 tokens' err
    grep -q '^kept .* states' err
    # other samples of the same reply
    printf 'one\n/regen\n' | q3n-run -m "$MODEL" -t 1 -cnv --json -n 12 -s 3 --temp 2 2>/dev/null |
        jq -se '.[0].text != .[1].text'
}

@test "what is no command, or wants something else" {
    for line in /nope "/save" "/load" "/load none.json" "/clear all" "/regen" "/"; do
        run chat <<<"$line"
        [ "$status" -eq 1 ] || { echo "$line: $status"; false; }
    done
    run chat <<<"/nope x"
    [[ "$output" == *"there is no command /nope; /help lists them"* ]]
    chat <<<"/help" 2>&1 | grep -q '^/regen '
}

@test "the context is full: said, and nothing is cut" {
    need_terminal
    run chat -c 24 -n 4 <<<"one two three four five six seven eight nine ten eleven twelve thirteen"
    [ "$status" -eq 1 ]
    [[ "$output" == *"the context is 24 (-c), of which 0 are held; /clear starts anew"* ]]
    run chat -c 24 --ignore-eos <<<"one"
    [ "$status" -eq 0 ]
    [[ "$output" == *"the context is full: 24 tokens are held; /clear starts anew"* ]]
    terminal prompt "type one" "wait is full" prompt "type two" "wait starts anew" prompt \
        "type /clear" prompt "type two" "wait is full" prompt "type /save c.json" "wait Saved" prompt \
        "keys \x04" -- q3n-run -m "$MODEL" -t 1 -cnv -c 24 --ignore-eos --temp 0
    jq -e '[.messages[].role] == ["user", "assistant"] and .messages[0].content == "two"' c.json
}

@test "--single-turn: one message" {
    [ "$(printf 'one\ntwo\n' | objects -st -n 3 | wc -l)" -eq 1 ]
    [ "$(printf 'two\n' | objects -st -p one -n 3 | wc -l)" -eq 1 ]
    [ "$(printf 'two\n' | objects -p one -n 3 | wc -l)" -eq 2 ]
    [ "$(printf '/system x\ntwo\nthree\n' | objects -st -n 3 | wc -l)" -eq 1 ]
}

@test "a stop string ends the reply, not the chat" {
    plain=$(chat -n 8 <<<"And God said" 2>/dev/null)
    word=$(echo "$plain" | awk '{print $3; exit}')
    printf 'And God said\nAnd God said\n' | objects -n 8 -r "$word" >out
    jq -se --arg want "${plain%%"$word"*}" '.[0].text == $want and .[0].finish == "string" and length == 2' out
}

@test "a terminal: editing, Ctrl-C, Ctrl-D" {
    need_terminal
    first=$(chat -n 3 --ignore-eos <<<hello 2>/dev/null | awk '{print $1; exit}')
    # stops the reply; the next turn works; what was typed is dropped; twice ends
    terminal prompt "keys help\x7f\x7f\x7fello\n" "wait $first" "keys \x03" prompt \
        "type again" $'wait again\r\n' "pause 0.2" "keys \x03" prompt "keys dropped\x03" "wait ends the chat" \
        prompt "type /save c.json" "wait Saved" prompt "keys \x1b[A\n" "wait exists" \
        "keys \x03" "wait ends the chat" prompt "keys \x03" \
        -- q3n-run -m "$MODEL" -t 1 -cnv --ignore-eos --temp 0 >shown || [ $? -eq 130 ]
    jq -e '[.messages[].role] == ["user", "assistant", "user", "assistant"] and
        [.messages[0, 2].content] == ["hello", "again"] and (.messages[1].content | length) > 0' c.json
    # in the middle of a message; its end
    terminal prompt 'keys one\\\n' more "keys two\n" prompt "type /save d.json" "wait Saved" \
        prompt "type /nope" "wait no command" prompt "keys \x04" \
        -- q3n-run -m "$MODEL" -t 1 -cnv --temp 0 -n 3 >shown
    jq -e '.messages[0].content == "one\ntwo"' d.json
    # a reply goes where standard output goes, and nothing else does
    terminal --stdout said prompt "type hello" prompt "keys \x04" \
        -- q3n-run -m "$MODEL" -t 1 -cnv --temp 0 -n 3 >shown
    [ "$(cat said)" = "$(chat -n 3 <<<hello 2>/dev/null)" ]
}

@test "a terminal: characters where no language is set, and what is none" {
    need_terminal
    LC_ALL=C terminal prompt 'keys h\xc3\xa9x\x7f\xe9\n' prompt "type /save c.json" "wait Saved" \
        prompt "keys \x04" -- q3n-run -m "$MODEL" -t 1 -cnv --temp 0 -n 3
    jq -e '.messages[0].content == "hé"' c.json
}

@test "a terminal is as it was when a signal ends the program; Ctrl-C ends a loop" {
    need_terminal
    # shellcheck disable=SC2016
    terminal prompt "signal 15" "wait status 143" -- bash -c 'trap : TERM; stty -a >before
        q3n-run -m "$MODEL" -t 1 -cnv; echo "status $?"; stty -a >after'
    cmp before after
    # shellcheck disable=SC2016
    terminal "wait again and again" "pause 0.3" "keys \x03" -- bash -c 'while :; do
        echo turn >>turns; q3n-run -m "$MODEL" -t 1 -p "again and again" --ignore-eos; done' >shown ||
        [ $? -eq 130 ]
    [ "$(wc -l <turns)" -eq 1 ]
}

@test "a long prompt: a terminal shows how far it is, nothing else does" {
    need_terminal
    yes "the whale and the sea" | head -n 900 >long
    for chat in "" "-cnv -st"; do
        # shellcheck disable=SC2086
        Q3N_CPU=c terminal "wait reading" "wait tokens/s  ETA" "keys \x03" \
            -- q3n-run -m "$MODEL" -t 1 $chat -f long -c 8192 -ub 32 --temp 0 >shown || [ $? -eq 130 ]
        run grep whale shown
        [ "$status" -eq 1 ]
    done
    q3n-run -m "$MODEL" -f long -c 8192 -n 1 >out 2>err
    grep -q whale out
    run grep reading err
    [ "$status" -eq 1 ]
}

@test "thoughts are dimmed where there are colours" {
    need_terminal
    terminal prompt "type one" prompt "keys \x04" \
        -- q3n-run -m "$MODEL" -t 1 -cnv --temp 0 -n 4 --chat-template-file thinks.jinja >shown
    grep -q $'\x1b\[2m.*\x1b\[0m' <(tr -d '\r\n' <shown)
    run grep -q '<think>' shown
    [ "$status" -eq 1 ]
    NO_COLOR=1 terminal prompt "type one" prompt "keys \x04" \
        -- q3n-run -m "$MODEL" -t 1 -cnv --temp 0 -n 4 --chat-template-file thinks.jinja >shown
    run grep -q $'\x1b\[2m' shown
    [ "$status" -eq 1 ]
    grep -q '<think>' shown
}

# A model of random weights that thinks: Qwen3's tokens, and </think> likely enough to come
# soon; the templates are like those of the models that think.
thinker() {
    local dir=$BATS_FILE_TMPDIR
    if [ ! -e "$dir/thinker.gguf" ]; then
        zstd -q -d "$ROOT/tests/data/tokenizer/qwen3-vocab.gguf.zst" -o "$dir/vocab.gguf"
        gguf-synth "$dir/thinker.gguf" --type Q4_K --vocab-from "$dir/vocab.gguf" 2>/dev/null
    fi
    q3n-run -m "$dir/thinker.gguf" -t 1 -cnv --temp 1 --top-k 0 --top-p 1 --min-p 0 \
        --logit-bias 151668+10.5 -n 60 --chat-template-file "$ROOT/tests/data/templates/$1.jinja" "${@:2}"
}

@test "thoughts that the template opens: told apart, saved, left out of later prompts" {
    form='root ::= "\n\n" [A-Z] [a-z]{2,5} "."'
    for seed in $(seq 40); do # some have no thoughts, or no end of them
        printf 'one\ntwo\n/save c.json\n' | thinker thinking -s "$seed" --grammar "$form" --json \
            --force >out 2>err
        jq -se 'all(.[]; (.reasoning | length) > 5 and .text != "")' out && break
    done
    jq -se 'length == 2 and all(.[]; .finish == "end" and (.text | test("^[A-Z][a-z]{2,5}\\.$")))' out
    jq -se '.[0].messages[1].reasoning_content == .[1].reasoning and .[0].messages[1].content == .[1].text' c.json out
    # The second prompt is the conversation without thoughts, of which the first message was known.
    jq '.messages[:3]' c.json >asked.json
    n=$(q3n-tokenize -m "$BATS_FILE_TMPDIR/thinker.gguf" --chat asked.json --ids \
        --chat-template-file "$ROOT/tests/data/templates/thinking.jinja" | tr -cd , | wc -c)
    jq -se --argjson n $((n + 1)) '.[1].tokens.prompt == $n and .[1].tokens.reused >= 5 and
        .[1].tokens.reused < .[0].tokens.prompt' out
    printf 'one\ntwo\n' | thinker thinking -s "$seed" --grammar "$form" --json --ctx-checkpoints 0 \
        2>err | jq '[.reasoning, .text]' >cold
    jq '[.reasoning, .text]' out | cmp - cold
}

@test "thoughts that the model opens: marked, or dimmed at a terminal" {
    form='root ::= "<think>\n" [a-z]{4,9} "\n</think>\n\n" [A-Z] [a-z]{2,5} "."'
    said=$(thinker qwen3 -s 1 --grammar "$form" <<<one 2>err)
    [[ "$said" =~ ^'<think>'$'\n'([a-z]{4,9})$'\n''</think>'$'\n\n'([A-Z][a-z]{2,5}\.)$ ]]
    thoughts=${BASH_REMATCH[1]} text=${BASH_REMATCH[2]}
    thinker qwen3 -s 1 --grammar "$form" --json <<<one 2>err |
        jq -e --arg r "$thoughts" --arg t "$text" '.reasoning == $r and .text == $t'
    need_terminal
    terminal prompt "type one" prompt "keys \x04" \
        -- q3n-run -m "$BATS_FILE_TMPDIR/thinker.gguf" -t 1 -cnv -s 1 --temp 1 --top-k 0 --top-p 1 --min-p 0 \
        --logit-bias 151668+10.5 --chat-template-file "$ROOT/tests/data/templates/qwen3.jinja" --grammar "$form" >shown
    tr -d '\r\n' <shown | grep -q $'\x1b\\[2m'"$thoughts"$'\x1b\\[0m'"$text"
}

@test "a terminal that can do nothing is read like a file" {
    need_terminal
    TERM=dumb terminal "keys hello\n" "wait hello" "keys \x04" \
        -- q3n-run -m "$MODEL" -t 1 -cnv --temp 0 -n 3 >shown
    run grep -q '> ' shown
    [ "$status" -eq 1 ]
}

@test "options without effect" {
    for args in "-p x -st" "-p x -sysf f" "-p x --ctx-checkpoints 3" "-p x --cache-ram 3" "-cnv -sys a -sysf b" \
        "-cnv --prompt-cache f --prompt-cache-all" "-cnv --prompt-cache f --cache-ram 0" "-cnv --cache-ram -1"; do
        run q3n-run -m "$MODEL" $args
        [ "$status" -eq 2 ] || { echo "$args: $status $output"; false; }
    done
    run chat -sysf none.txt </dev/null
    [ "$status" -eq 1 ]
}
