# q3n-eval on the sample model.

setup_file() {
    export MODEL=$BUILD/samples/q3n-mini-bf16.gguf TEXT=$BATS_FILE_TMPDIR/text
    export Q4=$BATS_FILE_TMPDIR/q4.gguf Q8=$BATS_FILE_TMPDIR/q8.gguf
    gguf-quant "$MODEL" "$Q4" Q4_0 >/dev/null 2>&1
    gguf-quant "$MODEL" "$Q8" Q8_0 >/dev/null 2>&1
}

setup() {
    cd "$BATS_TEST_DIRNAME/../.." || exit
    head -c 3000 samples/text/held-out.txt >"$TEXT"
}

ppl() { sed -n 's/^Final estimate: PPL = \([0-9.]*\) .*/\1/p'; }

@test "perplexity of the first window agrees with the logits of q3n-run" {
    cd "$BATS_TEST_TMPDIR"
    q3n-tokenize -m "$MODEL" -f "$TEXT" --ids | tr -d '[,]' | cut -d' ' -f1-64 >ids
    q3n-run -m "$MODEL" -ctk f32 -ctv f32 --tokens ids --logits l.f32 2>/dev/null
    got=$(q3n-eval -m "$MODEL" -f "$TEXT" -c 64 --chunks 1 2>/dev/null | ppl)
    python3 - "$got" <<'PY'
import array, math, sys
ids = [int(x) for x in open("ids").read().split()]
l = array.array("f"); l.frombytes(open("l.f32", "rb").read())
V = len(l) // len(ids)
nll = []
for j in range(32, 63):
    row = l[j * V:(j + 1) * V]; m = max(row)
    nll.append(m + math.log(sum(math.exp(x - m) for x in row)) - row[ids[j + 1]])
want = math.exp(sum(nll) / len(nll))
assert len(nll) == 31 and abs(float(sys.argv[1]) / want - 1) < 1e-4, (sys.argv[1], want)
PY
}

@test "--json says what was measured" {
    q3n-eval -m "$MODEL" -f "$TEXT" -c 64 --chunks 2 --json >"$BATS_TEST_TMPDIR/j"
    python3 -c '
import json, sys
s = json.load(open(sys.argv[1]))
assert s["windows"] == 2 and s["n_ctx"] == 64 and s["predictions"] == 62 and s["perplexity"] > 1
assert "divergence" not in s
' "$BATS_TEST_TMPDIR/j"
}

@test "threads and ubatch do not change the figure" {
    a=$(q3n-eval -m "$MODEL" -f "$TEXT" -c 64 --chunks 2 -t 1 2>/dev/null)
    b=$(q3n-eval -m "$MODEL" -f "$TEXT" -c 64 --chunks 2 -t 2 2>/dev/null)
    c=$(q3n-eval -m "$MODEL" -f "$TEXT" -c 64 --chunks 2 -ub 7 2>/dev/null | ppl)
    [ "$a" = "$b" ]
    awk -v a="$(ppl <<<"$a")" -v c="$c" 'BEGIN { exit !(c / a > 0.9999 && c / a < 1.0001) }'
}

@test "what other types of keys and values cost" {
    for t in f32 q8_0 q4_0; do
        q3n-eval -m "$MODEL" --base-model "$MODEL" -f "$TEXT" -c 64 --chunks 2 -ctk $t -ctv $t --json 2>/dev/null
    done >"$BATS_TEST_TMPDIR/j"
    python3 -c '
import json, sys
text, d, far = open(sys.argv[1]).read(), json.JSONDecoder(), []
while text.strip():
    s, end = d.raw_decode(text.lstrip())
    text = text.lstrip()[end:]
    far.append(s["divergence"]["kld"]["mean"])
assert abs(far[0]) < 1e-9 and 0 < far[1] < far[2] < 0.1, far
' "$BATS_TEST_TMPDIR/j"
}

@test "a base file, and no distance from itself" {
    base=$BATS_TEST_TMPDIR/base.kld
    q3n-eval -m "$MODEL" -f "$TEXT" -c 64 --chunks 3 --kl-divergence-base "$base" >/dev/null 2>&1
    # head, tokens, 31 records of 4096 codes and two floats for each window
    [ "$(stat -c %s "$base")" -eq $((20 + 3 * 64 * 4 + 3 * 31 * (4096 + 4) * 2)) ]
    q3n-eval -m "$MODEL" --kl-divergence --kl-divergence-base "$base" --json 2>/dev/null >"$BATS_TEST_TMPDIR/j"
    python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))["divergence"]
assert abs(d["kld"]["mean"]) < 1e-4 and d["same_top"]["mean"] == 1, d
assert abs(d["ppl_ratio"]["mean"] - 1) < 1e-4
' "$BATS_TEST_TMPDIR/j"
    run q3n-eval -m "$MODEL" --kl-divergence --kl-divergence-base "$base" --chunks 1
    [ "$status" -eq 0 ]
    [[ "$output" == *"Same top p: 100.000"* ]]
    run q3n-eval -m "$MODEL" -f "$TEXT" --kl-divergence-base "$base"
    [ "$status" -eq 1 ]
    printf 'x' | dd of="$base" bs=1 seek=3 conv=notrunc 2>/dev/null
    run q3n-eval -m "$MODEL" --kl-divergence --kl-divergence-base "$base"
    [ "$status" -eq 1 ]
    [[ "$output" == *"starts neither with"* ]]
}

@test "two models against one base, window by window" {
    cd "$BATS_TEST_TMPDIR"
    ln -s "$Q8" q8.gguf
    ln -s "$Q4" q4.gguf
    q3n-eval -t 1 -m "$MODEL" -f "$TEXT" -c 64 --chunks 4 --kl-divergence-base base.kld >/dev/null 2>&1
    q3n-eval -t 1 -m q4.gguf --compare q8.gguf --kl-divergence-base base.kld --json >file.json
    q3n-eval -t 1 -m q4.gguf --compare q8.gguf --base-model "$MODEL" -f "$TEXT" -c 64 --chunks 4 --json >model.json
    python3 - <<'PY'
import json, os
for name in "file.json", "model.json":
    d = json.load(open(name))
    o = d["compare"][0]
    p = o["paired"]
    a, b = d["divergence"], o["divergence"]
    assert d["bytes"] == os.path.getsize("q4.gguf") and o["bytes"] == os.path.getsize("q8.gguf")
    k = p["kld_difference"]
    assert k["low"] <= k["value"] <= k["high"] < 0, k
    assert abs(k["value"] - (b["kld"]["mean"] - a["kld"]["mean"])) < 1e-6
    assert abs(p["kld_ratio"]["value"] - b["kld"]["mean"] / a["kld"]["mean"]) < 1e-6
    assert abs(p["same_top_difference"]["value"] - (b["same_top"]["mean"] - a["same_top"]["mean"])) < 1e-6
    assert p["windows"] == 4 and p["windows_closer"] == 4 and p["windows_farther"] == 0
f, m = (json.load(open(n)) for n in ("file.json", "model.json"))
assert abs(f["divergence"]["kld"]["mean"] - m["divergence"]["kld"]["mean"]) < 1e-4
assert abs(f["perplexity"] / m["perplexity"] - 1) < 1e-6
PY
    q3n-eval -t 1 -m q4.gguf --compare q8.gguf --kl-divergence-base base.kld >text 2>/dev/null
    grep -q '^====== q8.gguf against q4.gguf ======$' text
    grep -q '^Windows .*: 4 closer, 0 farther of 4$' text
    q3n-eval -t 1 -m q4.gguf --compare q4.gguf --kl-divergence-base base.kld 2>/dev/null | grep '^Difference of mean KLD .* 0.000000   95 % from 0.000000 to 0.000000$'
    q3n-eval -t 1 -m "$MODEL" --base-model "$MODEL" -f "$TEXT" -c 64 --chunks 1 2>/dev/null | grep '^Maximum KLD: *0.000000$'
}

@test "an exact base file and a base model give the same figures, bit for bit" {
    cd "$BATS_TEST_TMPDIR"
    ln -s "$Q4" q4.gguf
    q3n-eval -t 1 -m "$MODEL" -f "$TEXT" -c 64 --chunks 3 --kl-divergence-base exact --base-format f32 >/dev/null 2>&1
    [ "$(stat -c %s exact)" -eq $((64 + 3 * 64 * 4 + 3 * 31 * 4096 * 4)) ]
    q3n-eval -t 1 -m q4.gguf --kl-divergence --kl-divergence-base exact --json >file.json
    q3n-eval -t 1 -m q4.gguf --base-model "$MODEL" -f "$TEXT" -c 64 --chunks 3 --json >model.json
    python3 - <<'PY'
import json
f, m = json.load(open("file.json")), json.load(open("model.json"))
assert f["divergence"] == m["divergence"] and f["tokens_sha256"] == m["tokens_sha256"]
assert "layers" not in f and len(m["layers"]) == 8
for l in m["layers"]:
    assert 0.3 < l["expert_overlap"] < 1 and 0.001 < l["state_error"] < 1 and l["same_experts"] <= 1, l
PY
    q3n-eval -t 1 -m "$MODEL" --base-model "$MODEL" -f "$TEXT" -c 64 --chunks 1 --json >self.json
    python3 - <<'PY'
import json
d = json.load(open("self.json"))
assert d["divergence"]["kld_ranks"]["max"] == 0 and d["output_state_error"] == 0
assert all(l["expert_overlap"] == 1 and l["state_error"] == 0 for l in d["layers"])
PY
    printf '\377\377\377\377' | dd of=exact bs=1 seek=$((64 + 3 * 64 * 4)) conv=notrunc 2>/dev/null
    run q3n-eval -t 1 -m q4.gguf --kl-divergence --kl-divergence-base exact
    [ "$status" -eq 1 ]
    [[ "$output" == *"infinite or not numbers"* ]]
}

@test "--html writes a page that is complete, --dry-run nothing" {
    cd "$BATS_TEST_TMPDIR"
    ln -s "$Q8" "q8 & <b>.gguf"
    q3n-eval -t 1 -m "$Q4" --compare "q8 & <b>.gguf" --base-model "$MODEL" -f "$TEXT" -c 64 --chunks 2 --html page.html >/dev/null 2>&1
    python3 - <<'PY'
import re
import xml.etree.ElementTree as xml
text = open("page.html").read()
assert text.startswith("<!DOCTYPE html>\n")
page = xml.fromstring(text.split("\n", 1)[1])
assert len(page.findall(".//svg")) == 5 and len(page.findall(".//circle")) == 2
assert [t.text for t in page.findall(".//svg/text") if t.text.endswith("gguf")] == ["q4.gguf", "q8 & <b>.gguf"]
assert not re.search(r"https?:|src=|href=|url\(|nan|inf\b", text)
for d in re.findall(r' d="([^"]*)"', text):
    numbers = [float(x) for x in re.findall(r"[0-9.]+", d)]
    assert numbers and all(0 <= x <= 640 for x in numbers), d
PY
    run q3n-eval -t 1 -m "$Q4" --base-model "$MODEL" -f "$TEXT" -c 64 --chunks 1 --html page.html
    [ "$status" -eq 1 ]
    q3n-eval -t 1 -m "$Q4" --base-model "$MODEL" -f "$TEXT" -c 64 --chunks 2 --html other.html --dry-run | grep -q '^2 windows of 64 tokens, 62 predictions, 2 models$'
    q3n-eval -t 1 -m "$Q4" -f "$TEXT" -c 64 --chunks 2 --kl-divergence-base none --base-format f32 --dry-run | grep -q " ($((64 + 2 * 64 * 4 + 2 * 31 * 4096 * 4)) bytes)$"
    [ ! -e other.html ] && [ ! -e none ]
}

@test "wrong usage, and a text too short" {
    for args in "-f x --kl-divergence" "-f x --force" "" "-f x -c 3" "-f x -c -4" "-f x --chunks 0" "-f x -ub 0" "-f x -t 0" \
        "--kl-divergence --kl-divergence-base x -f y" "--kl-divergence --kl-divergence-base x -c 64" \
        "-f x --compare y" "--compare y" "--compare y --kl-divergence-base x -f z" "-f x --base-model y --kl-divergence-base z" \
        "-f x --base-format f32" "-f x --kl-divergence-base y --base-format f16" "--kl-divergence --kl-divergence-base x --base-format f32" \
        "-f x --html y" "-f x --base-model y --force"; do
        run q3n-eval -m "$MODEL" $args
        [ "$status" -eq 2 ] || { echo "$args: $status $output"; false; }
    done
    echo "short" >"$BATS_TEST_TMPDIR/short"
    run q3n-eval -m "$MODEL" -f "$BATS_TEST_TMPDIR/short"
    [ "$status" -eq 1 ]
    [[ "$output" == *"less than a window of 512"* ]]
    run q3n-eval -m "$BATS_TEST_TMPDIR/none" -f "$TEXT"
    [ "$status" -eq 1 ]
}
