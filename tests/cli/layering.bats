# The order of the layers and the manners of the libraries: libgguf <- quant <- infer <- tools.

# Includes of folder $1 that reach into one of the folders named after it.
reaches() {
    local from=$1 to; shift
    to=$(IFS='|'; echo "$*")
    grep -rnE --include='*.[ch]' "^#include \"(\.\./)*($to)/" "$from"
}

@test "libgguf includes nothing but itself" {
    run reaches libgguf quant infer tools tests
    [ "$status" -eq 1 ] || { echo "$output"; false; }
    run grep -rnE --include='*.[ch]' '^#include "\.\./' libgguf # nor anything above it
    [ "$status" -eq 1 ] || { echo "$output"; false; }
}

@test "quant includes libgguf and itself" {
    run reaches quant infer tools tests
    [ "$status" -eq 1 ] || { echo "$output"; false; }
}

@test "infer includes libgguf, quant and itself" {
    run reaches infer tools tests
    [ "$status" -eq 1 ] || { echo "$output"; false; }
}

@test "libgguf's own headers stay inside: others include libgguf.h alone" {
    run grep -rnE --include='*.[ch]' '^#include ".*libgguf/' quant infer tools samples
    [ "$status" -eq 0 ]
    run grep -v '/libgguf\.h"$' <<<"$output"
    [ "$status" -eq 1 ] || { echo "$output"; false; }
}

@test "libraries never print, exit or abort" {
    run grep -rnE --include='*.c' '\b(printf|puts|putchar|perror|exit|_exit|abort|assert)\(|\b(stdout|stderr)\b' \
        libgguf quant infer
    [ "$status" -eq 1 ] || { echo "$output"; false; }
}

@test "the library's archive needs no more than its pkg-config file says" {
    run nm -u "$BUILD/libgguf.a"
    [ "$status" -eq 0 ]
    run grep -E ' (GOMP_|pcre2|utf8proc|json_|XXH)' <<<"$output"
    [ "$status" -eq 1 ]
}

@test "samples are short" {
    for f in samples/*.c; do [ "$(wc -l <"$f")" -le 80 ]; done
}
