# faults.bats - programs that run a model while memory runs out, or is limited from outside.

setup_file() {
    cd "$BATS_FILE_TMPDIR" || exit
    gguf-synth m.gguf --pack m.xpack
    echo 1 2 3 4 5 6 7 8 9 10 >tokens
    q3n-run -m m.gguf --tokens tokens --logits expected
    if ! nm -D "$BUILD/q3n-run" | grep -q __asan; then
        cc -D_GNU_SOURCE -O1 -shared -fPIC -o nomem.so "$BATS_TEST_DIRNAME/../shim/nomem.c"
    fi
}

setup() {
    cd "$BATS_FILE_TMPDIR" || exit
}

# Any one allocation of a run, or all from there on: a sentence and status 1, or the right
# logits; no signal, no file left behind.
out_of_memory() { # count, at...
    local count=$1 at status
    for at in "${@:2}"; do
        rm -f logits*
        status=0
        FAIL_AT=$at FAIL_COUNT=$count LD_PRELOAD=./nomem.so q3n-run -m m.gguf -t 2 \
            --load-mode direct --ram 200M --tokens tokens --logits logits 2>says || status=$?
        if [ "$status" -eq 0 ]; then
            cmp logits expected || return
        else
            [ "$status" -eq 1 ] && [ -s says ] && [ -z "$(ls logits* 2>/dev/null)" ] || {
                echo "allocation $at: status $status: $(cat says)"
                return 1
            }
        fi
    done
}

@test "an allocation fails" {
    [ -e nomem.so ] || skip "not with a sanitizer's allocator"
    FAIL_REPORT=n LD_PRELOAD=./nomem.so q3n-run -m m.gguf -t 2 --load-mode direct --ram 200M \
        --tokens tokens --logits logits
    cmp logits expected
    n=$(cat n)
    out_of_memory 1 $(seq 0 $((n / 24)) "$n")
    out_of_memory 1000000 $(seq 7 $((n / 12)) "$n")
}

# A cgroup below the one we are in, whose memory is limited to so many bytes: its folder.
limited_group() { # bytes
    local v1=/sys/fs/cgroup/memory/q3n-test.$$ v2=/sys/fs/cgroup/q3n-test.$$
    if mkdir "$v1" 2>/dev/null; then
        echo "$1" >"$v1/memory.limit_in_bytes" && echo "$v1"
    elif grep -qw memory /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null &&
        mkdir "$v2" 2>/dev/null; then
        echo "$1" >"$v2/memory.max" && echo "$v2"
    else
        return 1
    fi
}

@test "a cgroup leaves less than the experts take: they are read, the logits are the same" {
    nm -D "$BUILD/q3n-run" | grep -q __asan && skip "a sanitizer needs memory of its own"
    group=$(limited_group $((220 << 20))) || skip "no cgroup can be made"
    gguf-synth big.gguf --pack big.xpack --type Q8_0 --embd 512 --ff 512 --ff-shared 512 \
        --experts 64
    q3n-run -m big.gguf --tokens tokens --logits all --json 2>stats
    grep -q '"load_mode": "mmap"' stats
    # shellcheck disable=SC2016
    run bash -c 'echo $$ >"$0/cgroup.procs" && exec q3n-run "$@"' "$group" -m big.gguf -t 2 \
        -c 64 -ub 16 --tokens tokens --logits some --json
    echo "$output" >stats
    rmdir "$group"
    [ "$status" -eq 0 ]
    grep -q '"load_mode": "direct"' stats
    [ "$(sed -n 's/.*"peak_memory": \([0-9]*\).*/\1/p' stats)" -le $((220 << 20)) ]
    cmp all some
}

held_by() { cat "$1/memory.usage_in_bytes" 2>/dev/null || cat "$1/memory.current"; }

# Lower the limit of a group in use.  Version 2 is told what is wanted, and then bound to
# it; version 1 takes no limit below what is held, and is lowered bit by bit.
lower_limit() { # group, bytes
    local i
    if [ -e "$1/memory.high" ]; then
        echo "$2" >"$1/memory.high"
        sleep 0.6
        echo "$2" >"$1/memory.max"
        return
    fi
    for ((i = 0; i < 40; i++)); do
        echo "$2" >"$1/memory.limit_in_bytes" && return
        echo $(($(held_by "$1") + (6 << 20))) >"$1/memory.limit_in_bytes"
        sleep 0.22
    done 2>/dev/null
    return 1
}

count_of() { sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" stats; }

@test "a limit is lowered while a model runs: memory is given back, the logits are the same" {
    nm -D "$BUILD/q3n-run" | grep -q __asan && skip "a sanitizer needs memory of its own"
    group=$(limited_group $((1 << 30))) || skip "no cgroup can be made"
    gguf-synth low.gguf --pack low.xpack --type Q8_0 --embd 512 --ff 512 --ff-shared 512 \
        --experts 64
    seq 1 2000 | awk '{ print $1 * 7 % 128 }' >many
    run=(q3n-run -m low.gguf -t 1 -c 2000 -b 1 -ub 1 --tokens many)
    "${run[@]}" --logits same
    # shellcheck disable=SC2016
    bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "${run[@]}" \
        --load-mode direct --logits lowered --json 2>stats &
    pid=$!
    before=0 # until all experts are in memory
    for ((i = 0; i < 50; i++)); do
        sleep 0.1
        held=$(held_by "$group")
        [ $((held - before)) -gt 100000 ] || [ "$held" -lt $((190 << 20)) ] || break
        before=$held
    done
    lower_limit "$group" $((150 << 20)) || true
    wait $pid
    rmdir "$group"
    cmp same lowered
    [ "$(count_of experts_memory_shrinks)" -gt 0 ]
    [ "$(count_of experts_memory_least)" -lt "$(count_of experts_memory)" ]
}

@test "a limit is lowered while a server waits: it says so, and answers as before" {
    nm -D "$BUILD/q3n-serve" | grep -q __asan && skip "a sanitizer needs memory of its own"
    group=$(limited_group $((1 << 30))) || skip "no cgroup can be made"
    gguf-synth idle.gguf --pack idle.xpack --type Q8_0 --embd 512 --ff 512 --ff-shared 512 \
        --experts 64 --vocab-from "$BUILD/samples/q3n-mini-bf16.gguf"
    # shellcheck disable=SC2016
    bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" q3n-serve -m idle.gguf -t 1 \
        -np 1 -c 512 --cache-ram 8 --port 0 --metrics --load-mode direct 2>log 3>&- &
    pid=$!
    for ((i = 0; i < 100; i++)); do grep -q ready log && break; sleep 0.1; done
    url=$(sed -n 's/.*listening on //p' log)
    ask() { curl -s "$url/v1/completions" -d '{"prompt": "'"$1"'", "max_tokens": 8, "temperature": 0}' |
        jq -c '.choices[0].text'; }
    before=$(ask one)
    for word in one two three; do ask "$(printf "$word %.0s" $(seq 30))" >/dev/null; done
    lower_limit "$group" $(($(held_by "$group") + (2 << 20)))
    for ((i = 0; i < 50; i++)); do grep -q 'limits of cgroups' log && break; sleep 0.1; done
    grep -q '^q3n-serve: limits of cgroups have changed: .* of memory for experts now$' log
    curl -s "$url/metrics" | grep -q '^q3n:experts_memory_shrinks_total [1-9]'
    [ "$(ask one)" = "$before" ]
    kill $pid
    wait $pid
    rmdir "$group"
}
