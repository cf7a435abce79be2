#!/usr/bin/env bash
# run.sh - run fuzz targets, each for some seconds.
#
#   tests/fuzz/run.sh BUILD SECONDS NAME...
#
# New inputs are kept in BUILD/corpus/NAME and make the next run start further on; the tree
# stays as it is.  What crashes, hangs or leaks is put into BUILD/found/NAME: fix it, and
# move the file to tests/fuzz/regress/NAME, where `make check` runs it ever after.
set -u
build=$(cd "${1:?build folder}" && pwd) seconds=${2:?seconds}; shift 2
cd "$(dirname "$0")/../.." || exit 1
failed=0
for name in "$@"; do
    kept=$build/corpus/$name found=$build/found/$name
    mkdir -p "$kept" "$found"
    dirs=("$kept")
    for d in "tests/fuzz/corpus/$name" "tests/fuzz/regress/$name"; do [ -d "$d" ] && dirs+=("$d"); done
    dict=(); [ -f "tests/fuzz/$name.dict" ] && dict=("-dict=tests/fuzz/$name.dict")
    printf '%-12s %s s: ' "$name" "$seconds"
    if "$build/fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 \
        -artifact_prefix="$found/" -print_final_stats=1 ${dict+"${dict[@]}"} "${dirs[@]}" \
        >"$build/$name.log" 2>&1; then
        sed -n 's/^stat::number_of_executed_units: */no finding in /p' "$build/$name.log" | sed 's/$/ runs/'
    else
        echo "FOUND:"
        tail -n 40 "$build/$name.log" | sed 's/^/    /'
        failed=1
    fi
done
exit "$failed"
