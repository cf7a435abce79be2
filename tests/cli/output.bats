#!/usr/bin/env bats
# What every program does when its output gets lost: a full disk, a pipe that closes, a
# process that cannot go on.

setup() {
    export ROOT=$PWD
    cd "$BATS_TEST_TMPDIR" || exit
    gguf-synth --type F16 m.gguf 2>/dev/null
}

@test "what is printed and lost is an error" {
    [ -e /dev/full ] || skip "no /dev/full"
    for program in expert-pack gguf-hash gguf-inspect gguf-quant gguf-split gguf-synth \
        q3n-bench q3n-eval q3n-imatrix q3n-run q3n-serve q3n-tokenize q3n-trace; do
        run bash -c "$program --help >/dev/full"
        [ "$status" -eq 1 ]
        [[ $output == "$program: cannot write to standard output: "* ]]
    done
    expert-pack m.gguf -o p 2>/dev/null
    while read -r command; do
        run bash -c "$command >/dev/full"
        echo "$command: $status $output"
        [ "$status" -eq 1 ]
        [[ $output == *": cannot write to standard output: "* ]]
    done <<'COMMANDS'
gguf-quant --dry-run m.gguf Q8_0
gguf-quant --dry-run --json m.gguf Q8_0
gguf-synth --dry-run x.gguf
expert-pack --dry-run m.gguf -o x
expert-pack --info p.xpack
q3n-imatrix --in-file "$ROOT/samples/q3n-mini.imatrix.gguf" --show-statistics
COMMANDS
}

# The talk goes to a pipe that nobody reads: SIGPIPE (141) unless it is ignored.
@test "a pipe that closes leaves no unfinished file" {
    run bash -c '{ sleep 0.2; exec gguf-quant m.gguf q.gguf Q8_0; } 2>&1 | true; exit ${PIPESTATUS[0]}'
    [ "$status" -eq 141 ]
    [ "$(ls)" = m.gguf ]
    run bash -c 'trap "" PIPE; { sleep 0.2; gguf-quant m.gguf q.gguf Q8_0; } 2>&1 | true; exit ${PIPESTATUS[0]}'
    [ "$status" -eq 0 ]
    gguf-inspect --check q.gguf
}

@test "a process that may have no more threads leaves no unfinished file" {
    nm -D "$BUILD/gguf-quant" | grep -q __asan && skip "a sanitizer needs memory of its own"
    run bash -c 'ulimit -v 400000; gguf-quant m.gguf q.gguf Q8_0 512'
    [ "$status" -eq 1 ]
    [ "$(ls)" = m.gguf ]
}

# --force is leave to replace what is there, not what the program is reading.
@test "what is read from is not replaced" {
    cp "$BUILD/samples/q3n-mini-bf16.gguf" mini.gguf
    cp "$ROOT/samples/q3n-mini.imatrix.gguf" imatrix.gguf
    head -c 4000 "$ROOT/samples/text/held-out.txt" >text
    ln -s mini.gguf link
    ln text name
    q3n-eval -m mini.gguf -f text -c 64 --chunks 1 --trace trace >/dev/null 2>&1
    sha256sum mini.gguf imatrix.gguf text trace >sums
    while read -r command; do
        run $command
        echo "$command: $status $output"
        [ "$status" -eq 1 ]
        [[ $output == *" is read from, it is not replaced" ]]
    done <<'COMMANDS'
q3n-imatrix -m mini.gguf -f text -c 64 -o mini.gguf --force
q3n-imatrix -m mini.gguf -f text -c 64 -o name --force --dry-run
q3n-eval -m mini.gguf -f text -c 64 --trace link --force
q3n-eval -m mini.gguf -f text -c 64 --kl-divergence-base text --force
q3n-eval -m m.gguf --base-model mini.gguf -f text -c 64 --html mini.gguf --force
q3n-run -m mini.gguf -p x -n 1 --trace link --force
q3n-run -m mini.gguf -f text -n 1 --save-history name --force
q3n-serve -m mini.gguf --port 0 --trace mini.gguf --force
q3n-trace trace --html ./trace --force
gguf-hash mini.gguf -o link --force
gguf-synth --vocab-from mini.gguf mini.gguf --force
gguf-quant --imatrix imatrix.gguf mini.gguf imatrix.gguf Q4_0 -f
gguf-quant --imatrix imatrix.gguf mini.gguf q.gguf Q4_0 -f --plan-out imatrix.gguf
gguf-quant --dry-run mini.gguf q.gguf Q4_0 -f --model-card mini.gguf
COMMANDS
    sha256sum --quiet -c sums
}

@test "a set has more files than a process may have open by default" {
    gguf-split --split-max-tensors 2 m.gguf s >/dev/null
    set -- s-00001-of-*.gguf
    run bash -c "ulimit -Sn 16; expert-pack '$1' -o p && gguf-quant -q --keep-split '$1' q.gguf Q8_0"
    [ "$status" -eq 0 ]
    expert-pack --verify p.gguf
    gguf-inspect --check q-00001-of-*.gguf
}
