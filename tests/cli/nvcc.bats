# What the Makefile does with an nvcc it finds, which is a script here: tests/nvcc.sh
# asks it, make acts on the answer.  One in $dir/bin knows what NVCC_* tell it.

setup() {
    dir=$BATS_TEST_TMPDIR
    mkdir -p "$dir/bin" "$dir/build"
    export CALLS=$dir/calls
    cat >"$dir/bin/nvcc" <<'.'
#!/bin/sh
echo "$@" >>"$CALLS"
case " $* " in
*' --list-gpu-code '*) printf 'sm_%s\n' $NVCC_KNOWS ;;
*' --dryrun '*) printf '#$ _SPACE_= \n#$ PATH=/usr/bin\n%s\n#$ gcc -E x.cu\n' "$NVCC_PLACES" >&2 ;;
*" -ccbin=$NVCC_HOST "*) exit 0 ;;
*) [ -n "$NVCC_FAILS" ] || exit 0
   echo "$NVCC_FAILS" >&2
   exit 1 ;;
esac
.
    chmod +x "$dir/bin/nvcc"
    touch -d '1 hour ago' "$dir/bin/nvcc"
    nvcc=$dir/bin/nvcc
    # As Debian 12's toolkit says it.
    export NVCC_KNOWS='35 70 75 80 86 89 90' NVCC_FAILS='' NVCC_HOST=none
    export NVCC_PLACES='#$ LIBRARIES=  -L/usr/lib/x86_64-linux-gnu/stubs -L/usr/lib/x86_64-linux-gnu'
    unset CUDA SAN MAKEFLAGS MFLAGS MAKELEVEL
}
ask() { sh tests/nvcc.sh "$nvcc" "$dir/build" "$@"; }
# What make would do; the compiler's target is this machine's.
make_n() { make -n V=1 NVCC="$nvcc" BUILD="$dir/build" "$@"; }
lacks() { ! grep -q -e "$1" "$dir/said"; }
native() { [ "$(cc -dumpmachine | cut -d- -f1)" = "$(uname -m)" ] || skip "cross-compiling"; }

@test "it tells devices and where its runtime is, whatever folder that has" {
    [ "$(ask)" = 'yes sm_35 sm_70 sm_75 sm_80 sm_86 sm_89 sm_90 -L/usr/lib/x86_64-linux-gnu' ]
    rm "$dir/build/nvcc"
    NVCC_PLACES='#$ INCLUDES="-I/opt/cuda/bin/../include"  
#$ LIBRARIES=  "-L/opt/cuda/bin/../lib/stubs" "-L/opt/cuda/bin/../lib"'
    [[ "$(ask)" == *'sm_90 -L/opt/cuda/bin/../lib -I/opt/cuda/bin/../include' ]]
}

@test "it is asked once, and again when it, its place or its flags are others" {
    ask && ask
    [ "$(grep -c list-gpu-code "$CALLS")" -eq 1 ]
    ask -g
    [ "$(grep -c list-gpu-code "$CALLS")" -eq 2 ]
    touch -d '1 hour' "$nvcc"
    ask -g
    [ "$(grep -c list-gpu-code "$CALLS")" -eq 3 ]
    NVCC_FAILS='error: broken'
    [ "$(ask -g)" = 'no broken' ]
    [ "$(ask -g)" = 'no broken' ]
}

@test "a host compiler that is too new for it is replaced by one that is not" {
    NVCC_FAILS='host_config.h:132:2: error: #error -- unsupported GNU version!' NVCC_HOST=g++-11
    printf '#!/bin/sh\n' | tee "$dir/bin/g++-11" "$dir/bin/g++-9" "$dir/bin/g++-16" >/dev/null
    chmod +x "$dir"/bin/g++-*
    PATH=$dir/bin:$PATH run ask
    [[ $output == yes*' -ccbin=g++-11' ]]
    native
    PATH=$dir/bin:$PATH make_n "$dir/build/infer/gpu/norm.o" | grep -q -- '-ccbin=g++-11 '
}

@test "one that does not work is left out with the reason, by make too" {
    NVCC_FAILS=$'gcc: fatal error: cannot execute \'cc1plus\'\nnvcc fatal   : Failed'
    [ "$(ask)" = 'no cannot execute cc1plus' ]
    native
    make_n tools >"$dir/said"
    grep -q "no CUDA.*$nvcc: cannot execute cc1plus" "$dir/said"
    grep -q 'infer/gpu/none\.c' "$dir/said"
    lacks 'norm\.cu\|cudart'
    # Who says CUDA=0 is not told.
    make_n CUDA=0 tools >"$dir/said"
    lacks cc1plus
    # Who says CUDA=1 gets what nvcc has to say.
    make_n CUDA=1 tools >"$dir/said"
    grep -q 'norm\.cu' "$dir/said"
}

@test "there is none" {
    [[ "$(sh tests/nvcc.sh "$dir/bin/nothing" "$dir/build")" == 'no '*'bin/nothing: not found' ]]
}

@test "code for the devices it knows, PTX for later ones, its runtime linked" {
    native
    make_n "$dir/build/infer/gpu/norm.o" "$dir/build/q3n-run" >"$dir/said"
    grep -q -- 'code=sm_75 .*code=sm_90 -gencode arch=compute_90,code=compute_90 ' "$dir/said"
    lacks 'sm_120\|sm_70'
    grep -q -- 'q3n-run .* -L/usr/lib/x86_64-linux-gnu -lcudart_static' "$dir/said"
    lacks '-lstdc++'
    rm "$dir/build/nvcc"
    NVCC_KNOWS='75 80 86' make_n "$dir/build/infer/gpu/norm.o" |
        grep -q -- 'code=sm_86 -gencode arch=compute_86,code=compute_86 '
}
