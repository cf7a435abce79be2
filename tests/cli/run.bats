# q3n-run on the sample model.

setup_file() { export MODEL=$BUILD/samples/q3n-mini-bf16.gguf; }

setup() { cd "$BATS_TEST_DIRNAME/../.." || exit; }

@test "continues a prompt; statistics on standard error" {
    run bash -c 'q3n-run -m "$MODEL" -p "And God said" -n 4 --temp 0 2>"$BATS_TEST_TMPDIR/err"'
    [ "$status" -eq 0 ]
    [[ "$output" == "And God said"?* ]]
    for word in load prefill decode weights memory; do grep -q "^$word " "$BATS_TEST_TMPDIR/err"; done
}

@test "--no-display-prompt prints what is new only" {
    all=$(q3n-run -m "$MODEL" -p "And God said" -n 4 --temp 0 2>/dev/null)
    new=$(q3n-run -m "$MODEL" -p "And God said" -n 4 --temp 0 --no-display-prompt 2>/dev/null)
    [ "$all" = "And God said$new" ]
}

@test "-f and -p with escapes are the same prompt" {
    printf 'a\nb\n' >"$BATS_TEST_TMPDIR/p.txt"
    f=$(q3n-run -m "$MODEL" -f "$BATS_TEST_TMPDIR/p.txt" -n 2 --temp 0 2>/dev/null)
    p=$(q3n-run -m "$MODEL" -p 'a\nb' -n 2 --temp 0 2>/dev/null)
    raw=$(q3n-run -m "$MODEL" -p 'a\nb' --no-escape -n 0 2>/dev/null)
    [ "$f" = "$p" ]
    [ "$raw" = 'a\nb' ]
}

@test "a seed repeats itself" {
    a=$(q3n-run -m "$MODEL" -p "The whale" -n 8 -s 7 2>/dev/null)
    b=$(q3n-run -m "$MODEL" -p "The whale" -n 8 -s 7 -t 1 -b 1 -ub 1 2>/dev/null)
    [ "$a" = "$b" ]
}

@test "--json is an object with the counts" {
    q3n-run -m "$MODEL" -p "one" -n 3 --temp 0 --json 2>"$BATS_TEST_TMPDIR/j" >/dev/null
    python3 -c '
import json, sys
s = json.load(open(sys.argv[1]))
assert s["decode_tokens"] == 2 and s["prompt_tokens"] >= 1 and s["bytes_per_token"] > 0 and s["peak_memory"] > 0
' "$BATS_TEST_TMPDIR/j"
}

@test "the end of the context ends the text" {
    run q3n-run -m "$MODEL" -p "one two three" -c 8 --ignore-eos --temp 0
    [ "$status" -eq 0 ]
    [[ "$output" == *"the context is full"* ]]
    run q3n-run -m "$MODEL" -p "one two three four five six seven" -c 4
    [ "$status" -eq 1 ]
    [[ "$output" == "q3n-run: the 7 tokens of the prompt do not fit into the context of 4 (-c)" ]]
}

@test "--tokens --logits: a row for each, whatever the cuts" {
    cd "$BATS_TEST_TMPDIR"
    echo "100 200 300 400 500 600 700" >ids
    q3n-run -m "$MODEL" --tokens ids --logits a.f32 2>/dev/null
    [ "$(stat -c %s a.f32)" -eq $((7 * 4096 * 4)) ]
    q3n-run -m "$MODEL" --tokens ids --logits b.f32 -b 3 -ub 2 -t 1 2>/dev/null
    python3 -c '
import array
a, b = array.array("f"), array.array("f")
a.frombytes(open("a.f32", "rb").read()); b.frombytes(open("b.f32", "rb").read())
assert max(map(abs, a)) > 1
assert max(abs(x - y) for x, y in zip(a, b)) < 1e-3
'
    run q3n-run -m "$MODEL" --tokens ids --logits a.f32
    [ "$status" -eq 1 ]
    q3n-run -m "$MODEL" --tokens ids --logits a.f32 --force 2>/dev/null
    run q3n-run -m "$MODEL" --tokens <(echo "1 4096") --logits c.f32
    [ "$status" -eq 1 ]
    [ ! -e c.f32 ]
    run q3n-run -m "$MODEL" --tokens <(echo "1 x") --logits c.f32
    [ "$status" -eq 1 ]
    [[ "$output" == *"'x' is not a token id"* ]]
}

@test "keys and values of other types: nearly the same logits" {
    cd "$BATS_TEST_TMPDIR"
    seq 100 7 900 >ids
    q3n-run -m "$MODEL" --tokens ids --logits f32.f32 -ctk f32 -ctv f32 2>/dev/null
    q3n-run -m "$MODEL" --tokens ids --logits f16.f32 2>/dev/null
    q3n-run -m "$MODEL" --tokens ids --logits q8.f32 -ctk q8_0 -ctv Q8_0 2>/dev/null
    q3n-run -m "$MODEL" --tokens ids --logits q4.f32 -ctk iq4_nl -ctv q5_1 2>/dev/null
    q3n-run -m "$MODEL" --tokens ids --logits again.f32 -ctk iq4_nl -ctv q5_1 -ub 1 -t 1 2>/dev/null
    cmp q4.f32 again.f32
    python3 -c '
import array
def read(name):
    a = array.array("f"); a.frombytes(open(name + ".f32", "rb").read()); return a
want = read("f32")
far = [sum((x - y) ** 2 for x, y in zip(read(n), want)) / sum(y * y for y in want) for n in ("f16", "q8", "q4")]
assert 0 < far[0] < 1e-5 and far[0] < far[1] < 1e-3 and far[1] < far[2] < 3e-2, far
'
    run q3n-run -m "$MODEL" -p a -ctk q6_K
    [ "$status" -eq 2 ]
    [[ "$output" == *"-ctk q6_K: expected f32, f16,"* ]]
}

@test "the packed model gives the same logits, to the bit" {
    cd "$BATS_TEST_TMPDIR"
    echo "100 200 300 400 500" >ids
    expert-pack "$MODEL" -o packed 2>/dev/null
    q3n-run -m "$MODEL" --tokens ids --logits plain.f32 2>/dev/null
    q3n-run -m packed.gguf --tokens ids --logits packed.f32 2>/dev/null
    cmp plain.f32 packed.f32
    mv packed.xpack elsewhere.xpack
    run q3n-run -m packed.gguf --tokens ids --logits no.f32
    [ "$status" -eq 1 ]
    q3n-run -m packed.gguf --experts elsewhere.xpack --no-mmap --tokens ids --logits named.f32 2>/dev/null
    cmp plain.f32 named.f32
}

@test "experts read into less memory than they take: the same logits" {
    cd "$BATS_TEST_TMPDIR"
    seq 100 7 700 >ids
    expert-pack "$MODEL" -o less 2>/dev/null
    q3n-run -m "$MODEL" --tokens ids --logits plain.f32 2>/dev/null
    for args in "--experts-cache 7M" "--experts-cache 20M --cache-policy clock -b 1" \
        "--ram 150M --load-mode direct -ub 7 -t 1" "--load-mode populate" "--load-mode direct"; do
        for model in "$MODEL" less.gguf; do
            q3n-run -m $model $args --tokens ids --logits read.f32 --force --json 2>stats
            cmp plain.f32 read.f32 || { echo "$model $args"; false; }
        done
    done
    python3 -c '
import json
s = json.load(open("stats"))
assert s["load_mode"] == "direct" and s["experts_memory"] == 48 << 20, s
assert s["experts_misses"] > 0 and s["experts_evicted"] == 0, s
assert s["read_bytes"] == s["experts_misses"] * 393216, s
'
    run q3n-run -m less.gguf --experts-cache 1M -p x
    [ "$status" -eq 1 ]
    [[ "$output" == *"the least that works"* ]]
    for args in "--load-mode x" "--verify-reads x" "--cache-policy x" "--io-threads 65" \
        "--experts-cache x" "--experts-cache 0" "--ram x"; do
        run q3n-run -m less.gguf -p x $args
        [ "$status" -eq 2 ] || { echo "$args: $status $output"; false; }
    done
}

@test "--stats: a line for every N tokens" {
    q3n-run -m "$MODEL" -p "And God said" -n 13 --ignore-eos --temp 0 --experts-cache 10M --stats 4 \
        2>"$BATS_TEST_TMPDIR/s" >/dev/null
    [ "$(grep -c '^[0-9.]* tok/s, [0-9.]* % of experts in memory, .* GB/s read' "$BATS_TEST_TMPDIR/s")" -eq 3 ]
    grep -q '^disk .* read' "$BATS_TEST_TMPDIR/s"
    q3n-run -m "$MODEL" -p "And God said" -n 9 --ignore-eos --temp 0 --stats 4 2>"$BATS_TEST_TMPDIR/s" >/dev/null
    [ "$(grep -c '^[0-9.]* tok/s$' "$BATS_TEST_TMPDIR/s")" -eq 2 ]
    run q3n-run -m "$MODEL" -p x --stats 0
    [ "$status" -eq 2 ]
    q3n-run -m "$MODEL" -p "And God said" -n 5 --ignore-eos --temp 0 --experts-cache 10M --stats 4 \
        --json 2>&1 >/dev/null | sed -n '/^{/,$p' >"$BATS_TEST_TMPDIR/j"
    jq -e '.disk_gb_s > 0 and .disk_share > 0 and
        ((.disk_share * .disk_gb_s / .read_gb_s - 1) | fabs) < 0.01' "$BATS_TEST_TMPDIR/j"
}

@test "chat: a reply for each line, up to /exit" {
    run bash -c 'printf "hello\n\nagain <|im_end|>\n/exit\nnot read\n" |
        q3n-run -m "$MODEL" -cnv -sys "Be brief." -n 3 --temp 0 --ignore-eos --json 2>"$BATS_TEST_TMPDIR/j"'
    [ "$status" -eq 0 ]
    python3 -c '
import json, sys
assert json.load(open(sys.argv[1]))["decode_tokens"] == 4
' "$BATS_TEST_TMPDIR/j"
}

@test "chat: templates; a turn is not read twice, unless the template says it otherwise" {
    talk() { # prompt tokens of a chat with two messages, options: "$@"
        printf 'hello\nagain\n' | q3n-run -m "$MODEL" -cnv -n 3 --temp 0 --ignore-eos --json "$@" \
            2>&1 >/dev/null | sed -n '/^{/,$p' | jq .prompt_tokens
    }
    own=$(talk)
    [ "$(talk --no-jinja)" -eq "$own" ]
    [ "$(talk --chat-template chatml)" -eq "$own" ]
    again='{% for m in messages %}{{ messages|length }}{{ m.content }}{% endfor %}'
    [ "$(talk --chat-template "$again")" -gt 0 ]
    run q3n-run -m "$MODEL" -p a -n 1 --no-jinja
    [ "$status" -eq 2 ]
    run q3n-run -m "$MODEL" -cnv -p a -n 1 --chat-template '{{ raise_exception("never") }}'
    [ "$status" -eq 1 ]
    [[ "$output" == *never* ]]
}

@test "Ctrl-C ends the text, not in the middle" {
    q3n-run -m "$MODEL" -p "x" --ignore-eos --temp 0 >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
    pid=$!
    for _ in $(seq 100); do [ -s "$BATS_TEST_TMPDIR/out" ] && break; sleep 0.1; done
    kill -INT $pid
    status=0; wait $pid || status=$?
    [ "$status" -eq 130 ]
    grep -q '^memory ' "$BATS_TEST_TMPDIR/err"
}

@test "a hangup ends it, but not under nohup" {
    for how in env nohup; do
        # what runs these tests may be under nohup itself
        env --default-signal=HUP $how q3n-run -m "$MODEL" -p "x" -n 200 --ignore-eos --temp 0 >"$BATS_TEST_TMPDIR/$how" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
        pid=$!
        for _ in $(seq 100); do [ -s "$BATS_TEST_TMPDIR/$how" ] && break; sleep 0.05; done
        kill -HUP $pid
        status=0; wait $pid || status=$?
        [ "$status" -eq "$([ $how = env ] && echo 129 || echo 0)" ]
    done
    [ "$(stat -c %s "$BATS_TEST_TMPDIR/nohup")" -gt "$(stat -c %s "$BATS_TEST_TMPDIR/env")" ]
    grep -q '^memory ' "$BATS_TEST_TMPDIR/err"
}

@test "-c 0: what the model was trained for" {
    q3n-run -m "$MODEL" --plan --json -c 0 | jq -e '.context == 32768'
    q3n-run -m "$MODEL" --plan --json | jq -e '.context == 4096'
}

@test "options without effect are errors" {
    for args in "-p a --temp 0 --top-k 5" "-p a --temp 0 -s 1" "-p a -sys b" "-f x --no-escape" \
        "-p a --force" "-cnv --no-display-prompt" "--tokens x --logits y --temp 1" \
        "-p a --dry-base 2" "-p a --xtc-threshold 0.2" "-p a --dynatemp-exp 2" \
        "-p a --repeat-last-n 9" "-p a --samplers top_k;temperature --min-p 0.1" \
        "-p a --samplers top_k --sampling-seq k" "--tokens x --logits y --logit-bias 1+1" \
        "--tokens x --logits y -n 4" "--tokens x" "--logits y" "-p a -f x" "-cnv -f -" ""; do
        run q3n-run -m "$MODEL" $args
        [ "$status" -eq 2 ] || { echo "$args: $status $output"; false; }
    done
}

@test "sampling: order, bias, DRY and penalties reach the sampler" {
    say() { q3n-run -m "$MODEL" -p "And God said" -n 12 --no-display-prompt "$@" 2>/dev/null; }
    plain=$(say --temp 0)
    [ "$(say --samplers top_k --top-k 1 -s 5)" = "$plain" ]
    [ "$(say --sampling-seq kt --top-k 1 -s 5)" = "$plain" ]
    first=$(q3n-tokenize -m "$MODEL" -p "$plain" --ids 2>/dev/null | tr -cs '0-9\n' ' ' | awk '{print $1; exit}')
    [ "$(say --temp 0 --logit-bias "$first-inf")" != "$plain" ]
    [ "$(say --temp 0 --frequency-penalty 20 --repeat-last-n -1)" != "$plain" ]
    [ "$(say --temp 0 --dry-multiplier 20 --dry-allowed-length 1 --dry-sequence-breaker none -n 60)" != \
        "$(say --temp 0 -n 60)" ]
}

@test "stop strings end the text and are not in it" {
    say() { q3n-run -m "$MODEL" -p "And God said" -n 12 --temp 0 --no-display-prompt "$@" 2>/dev/null; }
    plain=$(say)
    word=$(echo "$plain" | awk '{print $3; exit}')
    [ "$(say -r "$word")" = "${plain%%"$word"*}" ]
    [ "$(say -r xyzzy -r "$word")" = "${plain%%"$word"*}" ]
    [ "$(say -r 'xyzzy\n')" = "$plain" ]
    run q3n-run -m "$MODEL" -p a -r ""
    [ "$status" -eq 1 ]
}

@test "a reply of a JSON schema" {
    schema='{"type":"object","properties":{"name":{"type":"string","maxLength":20},
        "age":{"type":"integer","minimum":1,"maximum":120}},"required":["name","age"]}'
    for seed in 1 2 3; do
        q3n-run -m "$MODEL" -p "And God said" -n 200 --no-display-prompt -s $seed -j "$schema" 2>/dev/null >"$BATS_TEST_TMPDIR/v"
        jq -es 'length == 1 and (.[0] | (.name | length <= 20) and .age >= 1 and .age <= 120 and (keys | length == 2))' "$BATS_TEST_TMPDIR/v"
    done
    echo "$schema" >"$BATS_TEST_TMPDIR/schema"
    [ "$(q3n-run -m "$MODEL" -p a -n 200 --temp 0 -jf "$BATS_TEST_TMPDIR/schema" 2>/dev/null)" = \
        "$(q3n-run -m "$MODEL" -p a -n 200 --temp 0 -j "$schema" 2>/dev/null)" ]
    run q3n-run -m "$MODEL" -p a -j '{"properties":{"a":{"not":{}}}}'
    [ "$status" -eq 2 ]
    [[ $output == *"#/properties/a: 'not' is not supported"* ]]
    run q3n-run -m "$MODEL" -p a -j '{}' -jf x
    [ "$status" -eq 2 ]
}

@test "a reply of a grammar" {
    grammar='root ::= "<" word (", " word){1,2} ">" # a list
        word ::= [a-z]{3,6}'
    for seed in 1 2 3; do
        said=$(q3n-run -m "$MODEL" -p "And God said" --no-display-prompt -s $seed --grammar "$grammar" 2>/dev/null)
        [[ "$said" =~ ^\<[a-z]{3,6}(, [a-z]{3,6}){1,2}\>$ ]] || { echo "$said"; false; }
    done
    echo "$grammar" >"$BATS_TEST_TMPDIR/grammar"
    [ "$(q3n-run -m "$MODEL" -p a --temp 0 --grammar-file "$BATS_TEST_TMPDIR/grammar" 2>/dev/null)" = \
        "$(q3n-run -m "$MODEL" -p a --temp 0 --grammar "$grammar" 2>/dev/null)" ]
    run q3n-run -m "$MODEL" -p a --grammar 'root ::= "a" other'
    [ "$status" -eq 2 ]
    [[ $output == *"grammar, line 1: there is no rule 'other'"* ]]
    for args in "-j {} --grammar x" "--grammar x --grammar-file y" "--grammar-file $BATS_TEST_TMPDIR/none"; do
        run q3n-run -m "$MODEL" -p a $args
        [ "$status" -eq 2 ] || { echo "$args: $status"; false; }
    done
}

@test "senseless numbers are usage errors" {
    for args in "-n -2" "-c -1" "-b 0" "-ub 0" "-t 0" "-t 1025" "--temp -1" "--top-p 2" "--min-p -1" "-s x" \
        "--repeat-penalty 0" "--samplers top_k;magic" "--sampling-seq kk" "--logit-bias 5" \
        "--logit-bias x+1" "--logit-bias 5+nan" "--dry-multiplier -1" "--typical 2" \
        "--xtc-probability 2" "--dynatemp-range -1" "--repeat-last-n -2"; do
        run q3n-run -m "$MODEL" -p a $args
        [ "$status" -eq 2 ] || { echo "$args: $status $output"; false; }
    done
}

@test "what is not a model" {
    run q3n-run -m "$BATS_TEST_TMPDIR/none.gguf" -p a
    [ "$status" -eq 1 ]
    run q3n-run -m "$MODEL" -f "$BATS_TEST_TMPDIR/none.txt"
    [ "$status" -eq 1 ]
    run q3n-run -m "$MODEL" -p ""
    [ "$status" -eq 1 ]
    [[ "$output" == *"the prompt is empty"* ]]
}

@test "--prompt-cache: the same text, of a prompt that is not read again" {
    c=$BATS_TEST_TMPDIR/cache p="In the beginning God created the heaven and the earth"
    ask() { q3n-run -m "$MODEL" -n 6 --temp 0 --json "$@" 2>"$BATS_TEST_TMPDIR/j"; }
    computed() { jq .prompt_tokens "$BATS_TEST_TMPDIR/j"; }
    plain=$(ask -p "$p and the waters"); all=$(computed)
    ask -p "$p" --prompt-cache "$c" >/dev/null; [ -f "$c" ]
    [ "$(ask -p "$p and the waters" --prompt-cache "$c")" = "$plain" ]; [ "$(computed)" -lt 6 ]
    [ "$(ask -p "$p and the waters" --prompt-cache "$c")" = "$plain" ]; [ "$(computed)" -eq 1 ]
    # What it began with is still there, and a read-only cache does not grow.
    ask -p "$p" --prompt-cache "$c" >/dev/null; [ "$(computed)" -eq 1 ]
    sum=$(sha256sum <"$c")
    ask -p "$p and nothing else" --prompt-cache "$c" --prompt-cache-ro >/dev/null; [ "$(computed)" -lt "$all" ]
    [ "$(sha256sum <"$c")" = "$sum" ]
    ask -p "$p" --prompt-cache "$c" --prompt-cache-all >/dev/null
    [ "$(sha256sum <"$c")" != "$sum" ]
}

@test "--prompt-cache: what is damaged or another model's is refused" {
    c=$BATS_TEST_TMPDIR/cache
    q3n-run -m "$MODEL" -p "one two three" -n 0 --prompt-cache "$c" >/dev/null 2>&1
    run q3n-run -m "$MODEL" -p "one two three" -n 0 -ctk q8_0 --prompt-cache "$c"
    [ "$status" -eq 1 ]; [[ "$output" == *"kept with another model"* ]]
    printf x | dd of="$c" bs=1 seek=5000 conv=notrunc status=none
    sum=$(sha256sum <"$c")
    run q3n-run -m "$MODEL" -p "one two three" -n 0 --prompt-cache "$c"
    [ "$status" -eq 1 ]; [[ "$output" == *"damaged"* ]]; [ "$(sha256sum <"$c")" = "$sum" ]
    run q3n-run -m "$MODEL" -p "one" -n 0 --prompt-cache "$c.none" --prompt-cache-ro
    [ "$status" -eq 1 ]
    run q3n-run -m "$MODEL" -p "one" -n 1 --prompt-cache "$c.d/none"
    [ "$status" -eq 1 ]; [[ "$output" == "oneq3n-run: cannot write $c.d/none: "* ]]
    run q3n-run -m "$MODEL" -p "one" --prompt-cache-all
    [ "$status" -eq 2 ]
}
