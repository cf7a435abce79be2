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

# qemu 7.2 (Debian 12) takes ymm4 as no index at all when a gather has it.  Where it does,
# the AVX2 kernels of the types on a grid, which gather, cannot be checked.
gathers_work() {
    local dir rc=0
    dir=$(mktemp -d)
    cat >"$dir/gather.c" <<'EOF'
int main(void)
{
    static const int table[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    int got[8];
    __asm__ volatile("vmovdqu (%0), %%ymm4\n\t"
                     "vpcmpeqd %%ymm3, %%ymm3, %%ymm3\n\t"
                     "vpgatherdd %%ymm3, (%0,%%ymm4,4), %%ymm2\n\t"
                     "vmovdqu %%ymm2, (%1)"
                     : : "r"(table), "r"(got) : "xmm2", "xmm3", "xmm4", "memory");
    for (int i = 0; i < 8; i++)
        if (got[i] != table[i]) return 1;
    return 0;
}
EOF
    ${CC:-cc} -O1 -o "$dir/gather" "$dir/gather.c"
    QEMU_CPU=Haswell qemu-x86_64 "$dir/gather" 2>/dev/null || rc=1
    rm -r "$dir"
    return $rc
}

failed=0
check() { # model, level it must come to, test programs
    local got want level=$2
    echo "== $1: $2"
    export QEMU_CPU=$1
    shift 2
    got=$(answer qemu-x86_64) || failed=1
    want=$(answer env Q3N_CPU="$level")
    echo "sample: $got"
    [ -n "$got" ] && [ "$got" = "$want" ] || { echo "not as here: $want"; failed=1; }
    EMULATOR=qemu-x86_64 CK_TIMEOUT_MULTIPLIER=20 "$tests/run.sh" "$build" "$@" || failed=1
}

all=(checkkernels test_decode test_encode test_ops test_golden)
check Nehalem c "${all[@]}"     # SSE4.2
check SandyBridge c "${all[@]}" # AVX without AVX2
# no AVX-512
if gathers_work; then
    check Haswell avx2 "${all[@]}"
else
    echo "this qemu gets gathers wrong: without the kernels that use them"
    check Haswell avx2 test_decode test_ops test_golden
    for family in 'act*' 'decode*' 'mul_[!i]*' 'mul_iq4*' 'mul_iq1*'; do
        QEMU_CPU=Haswell qemu-x86_64 "$build/tests/checkkernels" --function "$family" |
            tail -1 | sed "s/^/$family: /"
        [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
    done
fi
exit $failed
