#!/bin/sh
# nvcc.sh NVCC FOLDER [FLAG...] - can this nvcc make programs here?  One line for make:
#
#   yes sm_75 ... -L/... -I/... -ccbin=g++-11   the devices it knows, where its runtime is
#                                               and, if it has to be told, a host compiler
#   no, and why not
#
# nvcc takes no host compiler that is younger than itself, and not every system has one by
# the name it looks for: where its own choice does not work, the latest g++-N is taken that
# does.  A yes is kept in FOLDER/nvcc until there is another nvcc.
set -u
nvcc=$1 kept=$2/nvcc
shift 2
asked="$nvcc $*"
if [ -n "$(find "$kept" -newer "$nvcc" -newer "$0" 2>/dev/null)" ] &&
    [ "$(sed 1q "$kept")" = "$asked" ]; then
    sed 1d "$kept"
    exit
fi
dir=$(mktemp -d) || exit
trap 'rm -rf "$dir"' EXIT

cat >"$dir/try.cu" <<'.'
#include <cuda_runtime.h>
#if CUDART_VERSION < 11080
#error "CUDA 11.8 or later is needed"
#endif
static __global__ void kernel(int *p) { *p = 1; }
int main()
{
    cudaLaunchConfig_t config = {};
    return cudaLaunchKernelEx(&config, kernel, (int *)0) == cudaSuccess;
}
.

works() { # with these flags?
    "$nvcc" -std=c++17 -cudart static "$@" -o "$dir/try" "$dir/try.cu" >"$dir/said" 2>&1
}
host='' works=no
if works "$@"; then
    works=yes
else
    cp "$dir/said" "$dir/first"
    for n in 16 15 14 13 12 11 10 9; do
        command -v g++-$n >/dev/null || continue
        host=-ccbin=g++-$n
        works "$host" "$@" && works=yes && break
    done
fi
if [ $works = no ]; then
    why=$(grep -E 'error|fatal|ERROR' "$dir/first" | sed 1q)
    why=$(printf '%s' "${why:-$(sed 1q "$dir/first")}" | sed 's/.*error: //' | tr -d "\"'\`\\\\#\$" | cut -c 1-150)
    echo "no ${why:-$nvcc does not run}"
    exit
fi
# What it would give its own linker and compiler is among what it says it would do.
"$nvcc" --dryrun ${host:+"$host"} -c "$dir/try.cu" 2>&1 | tr -d '"' >"$dir/said"
list() { sed -n "s/^#\$ $1=//p" "$dir/said" | tr ' ' '\n' | grep "^-.*/" | grep -v '/stubs$'; }
mkdir -p "${kept%/*}"
{
    echo "$asked"
    # shellcheck disable=SC2046,SC2086  # lists of words
    echo yes $("$nvcc" --list-gpu-code) $(list LIBRARIES) $(list INCLUDES) $host
} >"$kept"
sed 1d "$kept"
