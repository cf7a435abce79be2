# q3n-serve on the sample model: what is on the wire, byte for byte where that matters.

# Start one with options; $url is where it is.
start() {
    local log; log=$(mktemp -p "$BATS_FILE_TMPDIR")
    q3n-serve -m "$MODEL" --port 0 -t 1 "$@" 2>"$log" 3>&- &
    pid=$!
    wait_for "$log" ready
    url=$(sed -n 's/.*listening on //p' "$log")
}
wait_for() { # file, word
    for _ in $(seq 200); do grep -qs "$2" "$1" && return 0; sleep 0.05; done
    cat "$1"; return 1
}
field() { jq -r "$1"; }
post() { curl -s "$url$1" -d "$2" "${@:3}"; }
code() { curl -s -o "$BATS_TEST_TMPDIR/body" -w '%{http_code}' "$@"; }

setup_file() {
    export MODEL=$BUILD/samples/q3n-mini-bf16.gguf
    cd "$BATS_FILE_TMPDIR" || exit
    mkdir states
    start -np 2 -c 512 --metrics --slot-save-path states
    export pid url
}
teardown_file() { kill "$pid"; }
setup() { cd "$BATS_FILE_TMPDIR" || exit; }

@test "health, models, props, slots, experts, metrics, the page" {
    [ "$(curl -s "$url/health" | field '.status')" = ok ]
    [ "$(curl -s "$url/v1/models" | field '.data[0].id')" = q3n-mini-bf16 ]
    [ "$(curl -s "$url/props" | field '.default_generation_settings.n_ctx')" = 256 ]
    [ "$(curl -s "$url/props" | field '.total_slots')" = 2 ]
    [ "$(curl -s "$url/slots" | field '.[1].is_processing')" = false ]
    curl -s "$url/experts" | field '.mapped'
    curl -s "$url/metrics" | grep -q '^llamacpp:prompt_tokens_total [0-9]'
    curl -s "$url/" | grep -q '<html'
    [ "$(code -I "$url/health")" = 200 ]
}

@test "a completion is what q3n-run says, with and without /v1" {
    said=$(q3n-run -m "$MODEL" -p "And God said" -n 6 --temp 0 --no-display-prompt 2>/dev/null)
    for path in /v1/completions /completions; do
        post $path '{"prompt": "And God said", "max_tokens": 6, "temperature": 0}' >r.json
        [ "$(field '.choices[0].text' <r.json)" = "$said" ]
    done
    [ "$(field '.choices[0].finish_reason' <r.json)" = length ]
    [ "$(field '.usage.completion_tokens' <r.json)" = 6 ]
    [ "$(field '.usage.prompt_tokens_details.cached_tokens' <r.json)" = 2 ]
    [ "$(field '.timings.cache_n' <r.json)" = 2 ]
}

@test "a stream: one id, a role first, a reason last, then [DONE]" {
    post /v1/chat/completions '{"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5,
        "temperature": 0, "stream": true, "stream_options": {"include_usage": true}}' -N -D head >s.txt
    grep -qi '^content-type: text/event-stream' head
    python3 - <<'END'
import json
text = open("s.txt").read()
assert text.endswith("data: [DONE]\n\n")
events = text.split("\n\n")[:-2]
assert all(e.startswith("data: ") and "\n" not in e for e in events)
events = [json.loads(e[6:]) for e in events]
for key in "id", "created", "model", "system_fingerprint", "object":
    assert len({e[key] for e in events}) == 1
assert events[0]["object"] == "chat.completion.chunk"
assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
assert all("role" not in e["choices"][0]["delta"] for e in events[1:-1])
assert all(e["choices"][0]["finish_reason"] is None for e in events[:-2])
assert events[-2]["choices"][0]["delta"] == {} and events[-2]["choices"][0]["finish_reason"] == "length"
assert events[-1]["choices"] == [] and events[-1]["usage"]["completion_tokens"] == 5
assert events[-1]["timings"]["predicted_n"] == 5
open("said", "w").write("".join(e["choices"][0]["delta"]["content"] for e in events[1:-2]))
END
    post /v1/chat/completions '{"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5,
        "temperature": 0}' | field '.choices[0].message.content' >whole
    [ "$(cat said)" = "$(cat whole)" ]
}

@test "a user cannot write control tokens" {
    post /apply-template '{"messages": [{"role": "user", "content": "<|im_end|>"}]}' >t.json
    [ "$(field '.prompt | [match("<\\|im_end\\|>"; "g")] | length' <t.json)" = 2 ]
    n=$(post /v1/chat/completions '{"messages": [{"role": "user", "content": "<|im_end|>"}], "max_tokens": 0}' |
        field '.usage.prompt_tokens')
    least=$(post /v1/chat/completions '{"messages": [{"role": "user", "content": ""}], "max_tokens": 0}' |
        field '.usage.prompt_tokens')
    [ "$n" -gt $((least + 1)) ]
}

@test "stop strings, seeds, bias, probabilities, a schema" {
    post /v1/completions '{"prompt": "And God said", "max_tokens": 6, "temperature": 0}' >a.json
    word=$(field '.choices[0].text | split(" ")[3]' <a.json)
    post /v1/completions '{"prompt": "And God said", "max_tokens": 6, "temperature": 0, "stop": ["'"$word"'"]}' >b.json
    [ "$(field '.choices[0].finish_reason' <b.json)" = stop ]
    [[ "$(field '.choices[0].text' <a.json)" == "$(field '.choices[0].text' <b.json)$word"* ]]
    for i in 1 2; do
        post /v1/completions '{"prompt": "The", "max_tokens": 8, "seed": 5, "temperature": 2}' |
            field '.choices[0].text' >seed$i
    done
    cmp seed1 seed2
    post /v1/completions '{"prompt": "The", "max_tokens": 3, "logit_bias": {"65": 1000}, "logprobs": 1}' >c.json
    [ "$(field '.choices[0].text' <c.json)" = bbb ]
    post /v1/chat/completions '{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2,
        "logprobs": true, "top_logprobs": 3}' >d.json
    [ "$(field '.choices[0].logprobs.content | length' <d.json)" = 2 ]
    [ "$(field '.choices[0].logprobs.content[1].top_logprobs | length' <d.json)" = 3 ]
    post /v1/chat/completions '{"messages": [{"role": "user", "content": "hi"}], "response_format":
        {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": ["yes", "no"]}}}}' >e.json
    [[ "$(field '.choices[0].message.content' <e.json)" =~ ^\"(yes|no)\"$ ]]
    post /v1/completions '{"prompt": "The", "grammar": "root ::= [x-z]{4} (\"!\" | \"?\")"}' >f.json
    [[ "$(field '.choices[0].text' <f.json)" =~ ^[x-z]{4}[!?]$ ]]
    [ "$(field '.choices[0].finish_reason' <f.json)" = stop ]
}

@test "several replies to one prompt, which is read once" {
    long=$(printf 'word %.0s' $(seq 100))
    before=$(curl -s "$url/metrics" | sed -n 's/^llamacpp:prompt_tokens_total //p')
    post /v1/completions '{"prompt": "'"$long"'", "max_tokens": 6, "n": 3, "seed": 5, "temperature": 2}' >n.json
    read=$(($(curl -s "$url/metrics" | sed -n 's/^llamacpp:prompt_tokens_total //p') - before))
    [ "$(field '[.choices[].index] == [0, 1, 2] and ([.choices[].text] | unique | length > 1)' <n.json)" = true ]
    [ "$read" -le $(($(field '.usage.prompt_tokens' <n.json) + 2)) ]
    for i in 0 1 2; do # each is what its seed gives alone
        post /v1/completions '{"prompt": "'"$long"'", "max_tokens": 6, "seed": '$((5 + i))', "temperature": 2}' >one.json
        [ "$(field ".choices[$i].text" <n.json)" = "$(field '.choices[0].text' <one.json)" ]
    done
    post /v1/completions '{"prompt": "'"$long"'", "max_tokens": 6, "n": 3, "seed": 5, "temperature": 2, "stream": true}' -N >n.txt
    [ "$(tail -n 2 n.txt)" = "data: [DONE]" ]
    for i in 0 1 2; do
        [ "$(grep '^data: {' n.txt | cut -c 7- | jq -rj ".choices[] | select(.index == $i) | .text")" = \
            "$(field ".choices[$i].text" <n.json)" ]
        [ "$(grep '^data: {' n.txt | cut -c 7- | jq -r ".choices[] | select(.index == $i and .finish_reason) | .finish_reason")" = length ]
    done
    # More than there are slots, and all of it given up half way.
    post /v1/chat/completions '{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "n": 5}' >n.json
    [ "$(field '[.choices[].message.role] | length' <n.json)" = 5 ]
    post /v1/completions '{"prompt": "a", "ignore_eos": true, "stream": true, "n": 4}' -N --max-time 0.2 >/dev/null || true
    for _ in $(seq 40); do [ "$(curl -s "$url/slots" | field 'map(select(.is_processing)) | length')" = 0 ] && break; sleep 0.05; done
    [ "$(curl -s "$url/slots" | field 'map(select(.is_processing)) | length')" = 0 ]
    curl -s "$url/metrics" | grep -q '^llamacpp:requests_deferred 0'
}

@test "a tool that must be called is called" {
    tools='"tools": [{"type": "function", "function": {"name": "pick", "parameters":
        {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}}}]'
    post /v1/chat/completions '{"messages": [{"role": "user", "content": "hi"}], "tool_choice": "required", '"$tools"'}' >t.json
    [ "$(field '.choices[0].finish_reason' <t.json)" = tool_calls ]
    [ "$(field '.choices[0].message.content' <t.json)" = null ]
    [ "$(field '.choices[0].message.tool_calls[0].function.name' <t.json)" = pick ]
    [[ "$(field '.choices[0].message.tool_calls[0].function.arguments | fromjson | .n' <t.json)" =~ ^[12]$ ]]
}

@test "tokens and text" {
    [ "$(post /tokenize '{"content": "And God"}' | field '.tokens')" = "$(post /v1/tokenize '{"content": "And God"}' | field '.tokens')" ]
    ids=$(post /tokenize '{"content": "h\u00e9llo"}' | jq -c .tokens)
    [ "$(post /detokenize "{\"tokens\": $ids}" | field '.content')" = héllo ]
    post /tokenize '{"content": "é", "with_pieces": true}' | grep -q '"piece"'
    ids=$(post /tokenize '{"content": "a\u0000b"}' | jq -c .tokens) # as in files that tools read
    [ "$(post /detokenize "{\"tokens\": $ids}" | jq -c .content)" = '"a\u0000b"' ]
    post /apply-template '{"messages": [{"role": "user", "content": "a\u0000b"}]}' | jq -e '.prompt | contains("a\u0000b")'
}

@test "what is wrong is said, with the name of it" {
    refused() { # path, body, word
        [ "$(code "$url$1" -d "$2")" = 400 ]
        grep -q '"type": "invalid_request_error"' "$BATS_TEST_TMPDIR/body"
        grep -q "$3" "$BATS_TEST_TMPDIR/body" || { cat "$BATS_TEST_TMPDIR/body"; false; }
    }
    refused /v1/completions '{"prompt": ' "not JSON"
    refused /v1/completions '[]' "object"
    refused /v1/completions '{}' "prompt is missing"
    refused /v1/completions '{"prompt": ["a", "b"]}' "must be one text"
    refused /v1/completions '{"prompt": [[1, 2], [3]]}' "must be one text"
    refused /v1/completions '{"prompt": "a", "suffix": "b"}' "suffix"
    refused /v1/completions '{"prompt": [1, 4096]}' 'prompt\[1\]'
    refused /v1/completions '{"prompt": "a", "temperature": "hot"}' temperature
    refused /v1/completions '{"prompt": "a", "n": 0}' "n must be"
    refused /v1/completions '{"prompt": "a", "n": 2, "best_of": 3}' "best_of"
    refused /v1/completions '{"prompt": "a", "grammar": "root = x"}' "grammar, line 1"
    refused /v1/completions '{"prompt": "a", "grammar": 1}' "grammar must be"
    refused /v1/completions '{"prompt": "a", "grammar": "x", "json_schema": {}}' "exclude each other"
    refused /v1/completions '{"prompt": "a", "grammar": "x", "response_format": {"type": "json_object"}}' "exclude each other"
    refused /v1/completions '{"prompt": "a", "stop": [1]}' stop
    refused /v1/completions '{"prompt": "a", "stream_options": {}}' stream_options
    refused /v1/completions '{"prompt": "a", "logprobs": 99}' logprobs
    refused /v1/completions '{"prompt": "a", "samplers": ["x"]}' "'x'"
    refused /v1/completions '{"prompt": "a", "id_slot": 2}' id_slot
    refused /v1/chat/completions '{"messages": []}' messages
    refused /v1/chat/completions '{"messages": [{"role": "user", "content": "a"}], "response_format": {"type": "xml"}}' response_format
    refused /v1/chat/completions '{"messages": [{"role": "user", "content": "a"}], "tool_choice": "required"}' tool_choice
    refused /v1/chat/completions '{"messages": [{"role": "user", "content": "a"}], "response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}}' not
    [ "$(code "$url/v1/nothing")" = 404 ]
    [ "$(code "$url/v1/completions")" = 405 ]
}

@test "a prompt that does not fit is refused, not cut" {
    long=$(printf 'word %.0s' $(seq 400))
    for path in completions chat/completions; do
        [ "$(code "$url/v1/$path" -d '{"prompt": "'"$long"'", "messages": [{"role": "user", "content": "'"$long"'"}]}')" = 400 ]
        grep -q '"exceed_context_size_error"' "$BATS_TEST_TMPDIR/body"
        [ "$(field '.error.n_ctx' <"$BATS_TEST_TMPDIR/body")" = 256 ]
        [ "$(field '.error.n_prompt_tokens' <"$BATS_TEST_TMPDIR/body")" -gt 256 ]
    done
    post /v1/completions '{"prompt": "one two", "ignore_eos": true}' >full.json
    [ "$(field '.choices[0].finish_reason' <full.json)" = length ]
    [ "$(field '.usage.total_tokens' <full.json)" = 257 ]
}

@test "a client that leaves ends its reply" {
    busy() { curl -s "$url/slots" | field 'map(select(.is_processing)) | length'; }
    post /v1/completions '{"prompt": "a", "ignore_eos": true, "stream": true}' -N --max-time 0.2 >/dev/null || true
    post /v1/completions '{"prompt": "a", "ignore_eos": true}' --max-time 0.2 >/dev/null || true
    for _ in $(seq 40); do [ "$(busy)" = 0 ] && break; sleep 0.05; done
    [ "$(busy)" = 0 ]
    n=$(curl -s "$url/metrics" | sed -n 's/^llamacpp:tokens_predicted_total //p')
    sleep 0.3
    [ "$n" = "$(curl -s "$url/metrics" | sed -n 's/^llamacpp:tokens_predicted_total //p')" ]
}

@test "more requests than slots: each gets its own text" {
    ask() { post /v1/completions '{"prompt": "'"$1"'", "max_tokens": 12, "temperature": 0}' | field '.choices[0].text'; }
    for w in One Two Three Four Five Six; do ask $w >alone.$w; done
    jobs=()
    for w in One Two Three Four Five Six; do ask $w >together.$w & jobs+=($!); done
    wait "${jobs[@]}"
    for w in One Two Three Four Five Six; do cmp alone.$w together.$w; done
}

@test "clients that misbehave" {
    python3 "$BATS_TEST_DIRNAME/../serve/hostile.py" "$url"
}

@test "more connections than are taken at once wait" {
    start -np 1 -c 64 --threads-http 4
    python3 "$BATS_TEST_DIRNAME/../serve/crowd.py" "$url" 4
    kill "$pid"; wait "$pid"
    (ulimit -n 32; start -np 1 -c 64; echo "$pid $url" >few)
    read -r pid url <few
    # The last ones wait for a file descriptor, without haste.
    python3 - "${url##*:}" "$pid" <<'END'
import os, socket, sys, time
crowd = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5) for _ in range(40)]
def seconds():
    f = open(f"/proc/{sys.argv[2]}/stat").read().rpartition(")")[2].split()
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")
before = seconds()
time.sleep(0.5)
assert seconds() - before < 0.1
END
    [ "$(code "$url/health" --max-time 5)" = 200 ]
    kill "$pid"
}

@test "slots are saved, erased, restored" {
    post /v1/completions '{"prompt": "And God said, Let there be", "max_tokens": 2, "id_slot": 1}' >/dev/null
    [ "$(post '/slots/1?action=save' '{"filename": "s"}' | field '.n_saved')" -gt 4 ]
    [ -s states/s ]
    [ "$(post '/slots/1?action=erase' '{}' | field '.n_erased')" -gt 4 ]
    [ "$(curl -s "$url/slots" | field '.[1].n_held')" = 0 ]
    [ "$(post '/slots/1?action=restore' '{"filename": "s"}' | field '.n_restored')" -gt 4 ]
    for bad in '{"filename": "../s"}' '{"filename": "none"}' '{}'; do
        [ "$(code "$url/slots/1?action=restore" -d "$bad")" != 200 ]
    done
    [ "$(code "$url/slots/7?action=erase" -d '{}')" = 400 ]
    head -c 100 states/s >states/cut
    [ "$(code "$url/slots/1?action=restore" -d '{"filename": "cut"}')" = 400 ]
}

@test "keys, origins, switches, limits" {
    start -np 1 -c 128 --api-key secret --api-key-file <(echo other) --cors-origins https://a.example \
        --no-slots --no-ui --body-limit 2K
    [ "$(code "$url/health")" = 200 ]
    [ "$(code "$url/props")" = 401 ]
    grep -q authentication_error "$BATS_TEST_TMPDIR/body"
    [ "$(code "$url/props" -H 'Authorization: Bearer secret')" = 200 ]
    [ "$(code "$url/props" -H 'Authorization: Bearer secre')" = 401 ]
    [ "$(code "$url/props" -H 'X-Api-Key: other')" = 200 ]
    key=(-H 'X-Api-Key: secret')
    curl -s -D - -o /dev/null "$url/props" "${key[@]}" -H 'Origin: https://a.example' | grep -qi '^access-control-allow-origin: https://a.example'
    [ "$(code "$url/props" "${key[@]}" -H 'Origin: https://b.example')" = 403 ]
    curl -s -D - -o /dev/null -X OPTIONS "$url/props" -H 'Origin: https://a.example' \
        -H 'Access-Control-Request-Headers: authorization' | grep -qi '^access-control-allow-headers: authorization'
    [ "$(code "$url/slots" "${key[@]}")" = 501 ]
    [ "$(code "$url/metrics" "${key[@]}")" = 501 ]
    [ "$(code "$url/")" = 404 ]
    head -c 3000 /dev/zero >big
    [ "$(code "$url/v1/completions" "${key[@]}" --data-binary @big)" = 413 ]
    [ "$(code "$url/v1/completions" "${key[@]}" -H 'Transfer-Encoding: chunked' --data-binary @big)" = 413 ]
    [ "$(code "$url/health" -H "X: $(head -c 70000 /dev/zero | tr '\0' x)")" = 431 ]
    kill "$pid"; wait "$pid"
}

@test "503 while loading; a signal ends it, whatever it is doing" {
    # Loading waits for its history, which is a pipe.
    mkfifo history
    q3n-serve -m "$MODEL" --port 0 --experts-cache 8M --history history 2>loading.log 3>&- &
    pid=$!
    wait_for loading.log listening
    url=$(sed -n 's/.*listening on //p' loading.log)
    [ "$(code "$url/health")" = 503 ]
    grep -q '"Loading model", "type": "unavailable_error"' "$BATS_TEST_TMPDIR/body"
    [ "$(code "$url/v1/completions" -d '{}')" = 503 ]
    kill "$pid"; wait "$pid"
    trap '' HUP # as nohup does
    start -np 1 -c 4096
    trap - HUP
    kill -HUP "$pid"
    sleep 0.1
    [ "$(code "$url/health")" = 200 ]
    post /v1/completions '{"prompt": "a", "ignore_eos": true, "stream": true}' -N >cancelled &
    client=$!
    wait_for cancelled data
    kill "$pid"
    wait "$pid"
    wait "$client"
    tail -c 200 cancelled | grep -q '"message": "the server is stopping", "type": "unavailable_error"'
}

@test "wrong options" {
    run q3n-serve -m "$MODEL" --port 70000
    [ "$status" -eq 2 ]
    run q3n-serve -m "$MODEL" --host 192.0.2.1
    [ "$status" -eq 1 ]
    run q3n-serve -m "$MODEL" --port "${url##*:}"
    [ "$status" -eq 1 ]
    [[ "$output" == *"cannot listen"* ]]
    run q3n-serve -m "$MODEL" --port 0 --api-key ""
    [ "$status" -eq 1 ]
    run q3n-serve --port 0
    [ "$status" -eq 2 ]
    start -np 2 -c 0
    [ "$(curl -s "$url/props" | field '.default_generation_settings.n_ctx')" = 16384 ]
    kill "$pid"; wait "$pid"
    python3 -c 'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' || skip "no IPv6 here"
    start -np 1 -c 64 --host ::1
    [[ "$url" == "http://[::1]:"* ]]
    [ "$(code "$url/health")" = 200 ]
    kill "$pid"; wait "$pid"
}

@test "a packed model, its experts in little memory: the same texts, and figures of it" {
    ask() { post /v1/completions '{"prompt": "And God said", "max_tokens": 12, "temperature": 0, "ignore_eos": true}' |
        field '.choices[0].text'; }
    ask >plain
    expert-pack "$MODEL" -o packed 2>/dev/null
    start -np 2 -c 512 --metrics -m packed.gguf --experts-cache 8M
    ask >little
    cmp plain little
    count() { curl -s "$url/metrics" | sed -n "s/^q3n:experts_$1 //p"; }
    [ "$(count mapped_total)" = 0 ]
    [ "$(count misses_total)" -gt 100 ]
    [ "$(count hits_total)" -gt 0 ]
    [ "$(count memory_bytes)" -le $((8 << 20)) ]
    [ "$(count memory_bytes)" -gt 0 ]
    curl -s "$url/experts" >e.json
    [ "$(field .misses <e.json)" = "$(count misses_total)" ]
    [ "$(field .read_bytes <e.json)" = "$(count read_bytes_total)" ]
    [ "$(field .slot_bytes <e.json)" = "$(count memory_bytes)" ]
    kill "$pid"; wait "$pid"
}

@test "thoughts that the template opens and the model ends, and then a form" {
    zstd -q -d "$BATS_TEST_DIRNAME/../data/tokenizer/qwen3-vocab.gguf.zst" -o vocab.gguf
    gguf-synth thinker.gguf --type Q4_K --vocab-from vocab.gguf 2>/dev/null # of random weights
    start -np 1 -c 512 -m thinker.gguf --chat-template-file "$BATS_TEST_DIRNAME/../data/templates/thinking.jinja"
    # </think> is 151668, made likely enough to come soon
    ask() { post /v1/chat/completions '{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 60, "top_k": 0,
        "top_p": 1, "min_p": 0, "temperature": 1, "logit_bias": {"151668": 10.5}, "seed": '"$seed, $1"',
        "grammar": "root ::= \"\\n\\n\" [A-Z] [a-z]{2,5} \".\""}'; }
    for seed in $(seq 20); do # some have no thoughts, or no end of them
        ask '"stream": false' >whole.json
        [ "$(field '.choices[0] | .finish_reason == "stop" and (.message.reasoning_content | length) > 5' <whole.json)" = true ] && break
    done
    [[ "$(field '.choices[0].message.content' <whole.json)" =~ ^[A-Z][a-z]{2,5}\.$ ]]
    ask '"stream": true' | grep '^data: {' | cut -c 7- >parts.json
    for part in reasoning_content content; do
        jq -rj ".choices[].delta.$part // empty" parts.json >part
        field ".choices[0].message.$part" <whole.json | tr -d '\n' | cmp - <(tr -d '\n' <part)
    done
    ask '"reasoning_format": "none"' | field '.choices[0].message.content' |
        grep -q '</think>'
    kill "$pid"; wait "$pid"
}
