# What a program finds after make install: header, library, pkg-config file; and that
# uninstall takes it all away.

# The library would need the sanitizers' runtime in every program that uses it.
sanitized() { [[ $BUILD == */san ]]; }

setup_file() {
    export ROOT=$BATS_FILE_TMPDIR/root
    umask 077
    sanitized || make -s install BUILD="$BUILD" PREFIX=/opt/q3n DESTDIR="$ROOT" >&2
    export PKG_CONFIG_PATH=$ROOT/opt/q3n/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$ROOT
}

setup() {
    if sanitized; then skip "built with sanitizers"; fi
    lib=$ROOT/opt/q3n/lib inc=$ROOT/opt/q3n/include
    model=tests/data/gguf/moe.imat.Q4_K_M.gguf
}


@test "programs, library, links, documents" {
    for p in gguf-inspect gguf-quant expert-pack q3n-run; do [ -x "$ROOT/opt/q3n/bin/$p" ]; done
    "$ROOT/opt/q3n/bin/gguf-inspect" "$model" >/dev/null
    [ "$(readlink "$lib/libgguf.so")" = libgguf.so.0 ]
    [ "$(readlink "$lib/libgguf.so.0")" = "libgguf.so.$(pkg-config --modversion libgguf)" ]
    readelf -d "$lib/libgguf.so" | grep -q 'SONAME.*\[libgguf\.so\.0\]'
    [ -f "$ROOT/opt/q3n/share/doc/q3n/LICENSE" ]
}

# Installed by a root whose files nobody else may read, and to where nobody will be.
@test "everybody may read it; a prefix is a path from /" {
    [ -z "$(find "$ROOT/opt/q3n" ! -perm -444)" ]
    run make -s install BUILD="$BUILD" PREFIX=here
    [ "$status" -ne 0 ]
    [[ $output == *"PREFIX=here does not start with /"* ]]
    [ ! -e here ]
}

@test "a sample against the shared library" {
    # shellcheck disable=SC2046
    cc -std=c11 -Wall -Wextra -Werror samples/list-tensors.c $(pkg-config --cflags --libs libgguf) \
        -o "$BATS_TEST_TMPDIR/list"
    readelf -d "$BATS_TEST_TMPDIR/list" | grep -q 'NEEDED.*libgguf\.so\.0'
    LD_LIBRARY_PATH=$lib run "$BATS_TEST_TMPDIR/list" "$model"
    [ "$status" -eq 0 ]
    [ "$(wc -l <<<"$output")" -eq "$(($(gguf-inspect --tensors --json "$model" | grep -c '"name"') + 1))" ]
    LD_LIBRARY_PATH=$lib run "$BATS_TEST_TMPDIR/list" /dev/null
    [ "$status" -eq 1 ]
    [[ $output == "list-tensors: /dev/null is not a regular file" ]]
}

@test "a sample against the static library" {
    # shellcheck disable=SC2046
    cc -std=c11 -Wall -Wextra -Werror samples/read-expert.c $(pkg-config --cflags libgguf) \
        "$lib/libgguf.a" $(pkg-config --static --libs-only-l libgguf | sed 's/-lgguf//') \
        -o "$BATS_TEST_TMPDIR/expert"
    run "$BATS_TEST_TMPDIR/expert" "$model" 0 1
    [ "$status" -eq 0 ]
    [ "$(grep -c 'bytes [0-9]*\.\.[0-9]*  sum' <<<"$output")" -eq 3 ]
    # The bytes it names are the ones in the file.
    read -r first last sum <<<"$(sed -n 's/^ffn_down_exps.*bytes \([0-9]*\)\.\.\([0-9]*\)  sum \([0-9a-f]*\) .*/\1 \2 \3/p' <<<"$output")"
    want=$(tail -c "+$((first + 1))" "$model" | head -c "$((last - first + 1))" | od -An -v -tu1 |
           awk '{for (i = 1; i <= NF; i++) s += $i} END {printf "%08x", s}')
    [ "$sum" = "$want" ]
}

@test "the shared library exports what the header declares, and nothing else" {
    nm -D --defined-only "$lib/libgguf.so" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' | sort >"$BATS_TEST_TMPDIR/is"
    # Declarations begin with GGF_API; a name is followed by its parameters.
    sed 's|/\*.*\*/||' "$inc"/libgguf{,_pack}.h | tr '\n' ' ' | grep -oE 'GGF_API [^;{]*' |
        grep -oE '\bggf_[a-z0-9_]+\(' | tr -d '(' | sort -u >"$BATS_TEST_TMPDIR/should"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/is")" -gt 50 ]
    diff "$BATS_TEST_TMPDIR/is" "$BATS_TEST_TMPDIR/should"
}

@test "the static library claims no name but ggf_*" {
    nm -gP --defined-only "$lib/libgguf.a" | awk 'NF > 1 { print $1 }' >"$BATS_TEST_TMPDIR/names"
    [ "$(grep -c '^ggf_' "$BATS_TEST_TMPDIR/names")" -gt 50 ]
    run grep -v '^ggf_' "$BATS_TEST_TMPDIR/names"
    [ -z "$output" ]
}

@test "the header compiles alone as C11 and without extensions" {
    echo '#include <libgguf.h>' >"$BATS_TEST_TMPDIR/h.c"
    cc -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$inc" "$BATS_TEST_TMPDIR/h.c"
}

@test "the header compiles as C++, and links" {
    command -v g++ >/dev/null || skip "g++ is not installed"
    cat >"$BATS_TEST_TMPDIR/h.cc" <<'CC'
#include <libgguf.h>
#include <cstring>
int main() { return std::strcmp(ggf_type_name(GGF_Q4_K), "q4_K"); }
CC
    # shellcheck disable=SC2046
    g++ -Wall -Wextra -Werror "$BATS_TEST_TMPDIR/h.cc" $(pkg-config --cflags --libs libgguf) -o "$BATS_TEST_TMPDIR/cc"
    LD_LIBRARY_PATH=$lib "$BATS_TEST_TMPDIR/cc"
}

@test "uninstall leaves no file" {
    make -s uninstall BUILD="$BUILD" PREFIX=/opt/q3n DESTDIR="$ROOT"
    run find "$ROOT" ! -type d
    [ -z "$output" ]
}
