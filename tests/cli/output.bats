#!/usr/bin/env bats
# What every program does when its output gets lost: a full disk, a pipe that closes, a
# process that cannot go on.

setup() {
    export ROOT=$PWD
    cd "$BATS_TEST_TMPDIR"
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
