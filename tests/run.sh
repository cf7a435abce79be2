#!/usr/bin/env bash
# run.sh - run all tests and add up what they count.
#
#   tests/run.sh BUILD            everything
#   tests/run.sh BUILD NAME...    only test programs or bats files of these names
#
# A Check program closes with "100%: Checks: 5, Failures: 0, Errors: 0", checkkernels with
# "N passed, N failed", bats speaks TAP.  Output of what passes is kept quiet; set V=1 to
# see it.  EMULATOR, if set, runs the test programs (not what bats tests).  The last line
# printed is "N passed, N failed, N skipped".
set -u
build=$(cd "${1:?build folder}" && pwd); shift
cd "$(dirname "$0")/.." || exit 1
export BUILD=$build PATH=$build:$PATH
# Threads that wait for work would keep those of other processes from theirs.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
passed=0 failed=0 skipped=0
log=$(mktemp); trap 'rm -f "$log"' EXIT

wanted() { # is test $1 among the names asked for?
    [ ${#names[@]} -eq 0 ] && return 0
    local n; for n in "${names[@]}"; do [ "$n" = "$1" ] && return 0; done
    return 1
}
report() { # name, seconds, passed, failed, skipped
    passed=$((passed + $3)) failed=$((failed + $4)) skipped=$((skipped + $5))
    printf '%-24s %5d passed %3d failed %3d skipped  %4ds\n' "$1" "$3" "$4" "$5" "$2"
    if [ "$4" -gt 0 ] || [ "${V:-0}" = 1 ]; then sed 's/^/    /' "$log"; fi
}
names=("$@")

for t in "$build"/tests/test_* "$build"/tests/checkkernels; do
    [ -x "$t" ] && [ -f "$t" ] || continue
    case $t in *.d|*.o) continue;; esac
    name=$(basename "$t"); wanted "$name" || continue
    start=$SECONDS
    ${EMULATOR:-} "$t" >"$log" 2>&1; rc=$?
    checks=$(sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\).*/\1 \2 \3/p' "$log" |
             awk '{c+=$1; b+=$2+$3} END {if (NR) print c-b, b}')
    [ -n "$checks" ] || checks=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2/p' "$log" | tail -1)
    [ -n "$checks" ] || checks="0 1"
    read -r ok bad <<<"$checks"
    [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    report "$name" $((SECONDS - start)) "$ok" "$bad" "$(grep -c '^SKIP' "$log")"
done

for t in tests/cli/*.bats; do
    [ -e "$t" ] || continue
    name=$(basename "$t" .bats); wanted "$name" || continue
    start=$SECONDS
    # Texts are compared with those of the CPU.
    CUDA_VISIBLE_DEVICES='' bats --tap "$t" >"$log" 2>&1
    skip=$(grep -c '^ok .*# skip' "$log"); ok=$(grep -c '^ok ' "$log"); bad=$(grep -c '^not ok ' "$log")
    [ $((ok + bad)) -eq 0 ] && bad=1
    report "$name" $((SECONDS - start)) $((ok - skip)) "$bad" "$skip"
done

echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
