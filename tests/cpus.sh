#!/usr/bin/env bash
# cpus.sh BUILD - run what tests the kernels on processors that lack instructions of this
# one: qemu-user takes the name of a model and raises SIGILL for what that model has not.
# checkkernels walks the levels that are left; the programs choose the highest by
# themselves.  Needs Debian's qemu-user.
set -eu
build=$(cd "${1:?build folder}" && pwd)
tests=$(cd "$(dirname "$0")" && pwd)

if [ "$(uname -m)" != x86_64 ]; then
    echo "check-cpus: skipped: its models are those of x86-64"
    exit 0
fi
command -v qemu-x86_64 >/dev/null || {
    echo "check-cpus: skipped: no qemu-x86_64 (Debian: qemu-user)"
    exit 0
}

# What the sample answers, token by token the most likely.
answer() { "$@" "$build/q3n-run" -m "$build/samples/q3n-mini-bf16.gguf" --temp 0 -n 8 -t 2 \
               -p "It was the best of" 2>/dev/null; }

failed=0
check() { # model, level it must come to
    local got want
    echo "== $1: $2"
    export QEMU_CPU=$1
    got=$(answer qemu-x86_64) || failed=1
    want=$(answer env Q3N_CPU="$2")
    echo "sample: $got"
    [ -n "$got" ] && [ "$got" = "$want" ] || { echo "not as here: $want"; failed=1; }
    EMULATOR=qemu-x86_64 CK_TIMEOUT_MULTIPLIER=20 "$tests/run.sh" "$build" \
        checkkernels test_decode test_encode test_ops test_golden || failed=1
}

check Nehalem c         # SSE4.2
check SandyBridge c     # AVX without AVX2
check Haswell avx2      # no AVX-512
exit $failed
