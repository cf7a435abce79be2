# The page of q3n-serve, in a headless Chromium: what it shows, and that it works.

setup() {
    bats_require_minimum_version 1.5.0
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
        command -v google-chrome >/dev/null || skip "no Chromium here"
    dir=$(mktemp -d)
    expert-pack "$BUILD/samples/q3n-mini-bf16.gguf" -o "$dir/packed" 2>/dev/null
    q3n-serve -m "$dir/packed.gguf" --experts-cache 12M --port 0 -t 2 2>"$dir/log" 3>&- &
    server=$!
}

teardown() {
    [ -z "${server:-}" ] || { kill "$server"; wait "$server" || true; }
    [ -z "${dir:-}" ] || rm -rf "$dir"
}

@test "conversations, Markdown, stop, edit, export, four screens" {
    for _ in $(seq 200); do
        grep -q "is ready" "$dir/log" && break
        sleep 0.1
    done
    url=$(grep -o 'http://[^ ]*' "$dir/log")
    run timeout 120 python3 tests/page/drive.py "$url" "$dir"
    echo "$output"
    [ "$status" -eq 0 ]
    for picture in 1400-light 1400-dark 400-light 400-dark; do
        [ "$(wc -c <"$dir/$picture.png")" -gt 5000 ]
    done
}
