#!/usr/bin/env bash
# bench-kld.sh BUILD - how far quantized files of the sample model are from it, and what
# gguf-quant predicts.
#
# The probe reads samples/text/calibration.txt, which the importance matrix was made from
# too; files are judged on samples/text/held-out.txt: 16 pieces of PIECE=10000 bytes spread
# over it, in windows of 512 tokens.  Two tables:
#
#   - predicted KLD with its interval and the measured, of plans chosen without and with
#     the probe, presets and file types;
#   - mean KLD of file types and presets, and of --target-size for the same bytes, without
#     and with the probe; the ratio with its paired 95 % interval, windows drawn again.
#
# Takes about 15 minutes on two cores.  WORK=FOLDER keeps files there, the probe's too;
# TABLES="predictions qualities" says which.
set -euo pipefail
build=$(cd "${1:?build folder}" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
PATH=$build:$PATH
work=${WORK:-$(mktemp -d)}
[ -n "${WORK:-}" ] || trap 'rm -rf "$work"' EXIT
source=$build/samples/q3n-mini-bf16.gguf
matrix=(--imatrix "$root/samples/q3n-mini.imatrix.gguf")
export TMPDIR=$work
cd "$work"

pieces() { # FILE BYTES: 16 pieces spread over a file
    local size i
    size=$(stat -c %s "$1")
    for ((i = 0; i < 16; i++)); do tail -c +$((i * size / 16 + 1)) "$1" | head -c "$2" || true; done
}

prepare() {
    pieces "$root/samples/text/held-out.txt" "${PIECE:-10000}" >judge.txt
    q3n-eval -m "$source" -f judge.txt --kl-divergence-base judge.kld --force >/dev/null 2>&1
    [ -e kept.probe ] ||
        gguf-quant -q --dry-run "${matrix[@]}" --probe "$root/samples/text/calibration.txt" \
            --probe-out kept.probe "$source" Q4_K_M >/dev/null 2>&1
}

make_file() { # OUT ARGUMENTS...: also OUT.json
    gguf-quant -f "${matrix[@]}" --json "${@:2}" "$source" "$1" ${type:+"$type"} \
        >"$1.json" 2>/dev/null
}

judge() { # FILE [OTHER]: JSON
    q3n-eval -m "$1" ${2:+--compare "$2"} --kl-divergence-base judge.kld --kl-divergence \
        --json 2>/dev/null
}

# ---- Predictions --------------------------------------------------------------------

prediction() { # NAME HOW ARGUMENTS...
    make_file out.gguf "${@:3}"
    judge out.gguf >out.kld
    python3 - "$1" "$2" <<'P'
import json, sys
p = json.load(open("out.gguf.json"))
k = p["predicted_kld"]
m = json.load(open("out.kld"))["divergence"]["kld"]["mean"]
inside = k["low"] <= m <= k["high"]
print("%-12s %-6s %7.3f %9.5f (%.5f to %.5f) %9.5f %s" % (sys.argv[1], sys.argv[2],
      p["bits_per_weight"], k["mean"], k["low"], k["high"], m, "yes" if inside else "no"))
P
}

predictions() {
    local bits
    printf '%-12s %-6s %7s %9s %22s %9s %s\n' plan probe bits predicted '' measured inside
    for bits in 2.3 2.6 3.0 3.4 3.8 4.2 4.8 5.5 6.5 8; do
        type='' prediction "$bits" no --target-bpw "$bits"
    done
    for bits in 2.3 2.8 3.4 4.2 5.2 6.5; do
        type='' prediction "$bits" yes --target-bpw "$bits" --probe-in kept.probe
    done
    for type in UD-Q4_K_XL UD-IQ3_XXS Q4_K_M Q2_K; do
        prediction "$type" yes --probe-in kept.probe
    done
}

# ---- The same bytes -----------------------------------------------------------------

compare() { # TYPE
    local bytes
    type=$1 make_file one.gguf
    bytes=$(stat -c %s one.gguf)
    type='' make_file plain.gguf --target-size "$bytes"
    type='' make_file probed.gguf --target-size "$bytes" --probe-in kept.probe
    judge one.gguf plain.gguf >plain.kld
    judge one.gguf probed.gguf >probed.kld
    python3 - "$1" "$bytes" <<'P'
import json, os, sys
def side(name):
    p = json.load(open(name + ".kld"))["compare"][0]
    r = p["paired"]["kld_ratio"]
    return (os.path.getsize(name + ".gguf") / int(sys.argv[2]), p["divergence"]["kld"]["mean"],
            r["value"] - 1, r["low"] - 1, r["high"] - 1)
m = json.load(open("plain.kld"))["divergence"]["kld"]["mean"]
print("%-12s %10s %8.5f" % (sys.argv[1], sys.argv[2], m), end="")
for name in "plain", "probed":
    size, kld, value, low, high = side(name)
    print("  %8.5f %+6.1f %% (%+.1f to %+.1f)" % (kld, 100 * value, 100 * low, 100 * high),
          end="")
print()
P
}

qualities() {
    printf '\n%-12s %10s %8s  %-34s  %s\n' type bytes KLD '--target-size' \
        '--target-size --probe'
    for t in Q4_K_M UD-Q3_K_XL Q3_K_M UD-Q2_K_XL Q2_K UD-IQ2_M IQ2_M UD-IQ2_XXS; do
        compare "$t"
    done
}

prepare
for table in ${TABLES:-predictions qualities}; do $table; done
