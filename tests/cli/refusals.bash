# refusals.bash - commands that must fail, and how.

# Exit status 1, one line that matches $1, nothing left in the folder but what was there.
fails_with() {
    local words=$1 before; shift
    before=$(ls)
    run "$@"
    [ "$status" -eq 1 ] || { echo "status $status: $output"; return 1; }
    [[ $output == *"$words"* ]] || { echo "$output"; return 1; }
    [ "${#lines[@]}" -eq 1 ] || { echo "$output"; return 1; }
    [ "$(ls)" = "$before" ]
}

# Exit status 2, and what matches $1.
misused_with() {
    local words=$1; shift
    run "$@"
    [ "$status" -eq 2 ] || { echo "status $status: $output"; return 1; }
    [[ $output == *"$words"* ]] || { echo "$output"; return 1; }
}
