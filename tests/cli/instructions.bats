#!/usr/bin/env bats
# What may be executed on any processor of an architecture: files without an instruction
# set in their names use none of the wide registers, and nothing uses tile registers (AMX),
# which a kernel may report and still kill the process for.

setup_file() {
    [ "$(uname -m)" = x86_64 ] || skip "of x86-64 only"
    export LISTING=$BATS_FILE_TMPDIR/listing
    local a
    for a in libgguf libquant libinfer libcommon; do
        objdump -d --no-show-raw-insn "$BUILD/$a.a" || return 1
    done | awk '/file format/ { file = $1; next } /^ / { print file, $0 }' >"$LISTING"
}

# Loops of q3n-bench that ask the processor themselves, and have their level in attributes.
own='(macpeak|memread)\.o'

tiles='(ldtilecfg|sttilecfg|tileload|tilestore|tilezero|tilerelease|tdp[bf])'

# The same listing of two lines of assembly.
listing_of() {
    printf '%b\n' "$1" | gcc -c -x assembler -o "$BATS_TEST_TMPDIR/x.o" -
    objdump -d --no-show-raw-insn "$BATS_TEST_TMPDIR/x.o" |
        awk '/^ / { print "x.o:", $0 }'
}

@test "no instruction on tiles" {
    [ "$(listing_of 'tilezero %tmm0\ntdpbssd %tmm0, %tmm1, %tmm2' | grep -cE "$tiles")" -eq 2 ]
    [ "$(wc -l <"$LISTING")" -gt 10000 ]
    run grep -E "$tiles" "$LISTING"
    echo "$output" | head
    [ "$status" -eq 1 ]
}

@test "wide registers only in files named for them" {
    [ "$(listing_of 'vpxor %ymm0, %ymm0, %ymm0' | grep -c '%[yz]mm')" -eq 1 ]
    grep '%[yz]mm' "$LISTING" | cut -d: -f1 | sort -u >"$BATS_TEST_TMPDIR/files"
    cat "$BATS_TEST_TMPDIR/files"
    grep -q '_avx2\.o' "$BATS_TEST_TMPDIR/files"
    run grep -vE "_(avx2|avx512|vbmi|bf16)\.o|$own" "$BATS_TEST_TMPDIR/files"
    echo "$output"
    [ "$status" -eq 1 ]
}

@test "zmm registers only in files named for AVX-512" {
    grep '%zmm' "$LISTING" | cut -d: -f1 | sort -u >"$BATS_TEST_TMPDIR/files"
    grep -q '_avx512\.o' "$BATS_TEST_TMPDIR/files"
    run grep -vE "_(avx512|vbmi|bf16)\.o|$own" "$BATS_TEST_TMPDIR/files"
    echo "$output"
    [ "$status" -eq 1 ]
}
