#!/usr/bin/env bats
# Every command that the README shows in a console block runs, in order, in one folder.

@test "the commands of the README" {
    root=$PWD
    cd "$BATS_TEST_TMPDIR"
    ln -s "$root/samples" samples
    mkdir build
    ln -s "$BUILD/samples" build/samples
    sed -n '/^```console$/,/^```$/s/^\$ //p' "$root/README.md" >commands
    [ "$(wc -l <commands)" -ge 12 ]
    while read -r -u 3 -d '' command; do
        echo "\$ $command"
        bash -c "$command" </dev/null
    done 3< <(tr '\n' '\0' <commands)
}
