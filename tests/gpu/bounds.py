#!/usr/bin/env python3
"""What PTX_REPORT counted (tests/gpu/ptx/report.cpp), for each kernel, and how long a card
would take for it at least.

    bounds.py [--less FILE] [--card NAME] [--lines KERNEL] FILE

--less: counts of a run to be subtracted.  --lines: a kernel's lines of the source.

A card's multiprocessor begins 4 warps' instructions and one pass through its shared memory
a clock.  Instructions are those of PTX but for its moves: ptxas needs more of some, fewer of
others.  Bytes are sectors that multiprocessors ask for: what comes twice may come from a
cache."""
import argparse
import collections
import subprocess

# Multiprocessors, GHz, GB/s: of NVIDIA's data sheets, boost clocks.
CARDS = {
    "RTX 3060": (28, 1.777, 360),
    "RTX 4060 Ti": (34, 2.535, 288),
    "RTX 3090": (82, 1.695, 936),
    "RTX 4090": (128, 2.52, 1008),
    "RTX 5090": (170, 2.407, 1792),
    "H200": (132, 1.83, 4800),
}
COLUMNS = ("instructions", "matrix", "passes", "bytes")


def read(path, sign, sums, kernel):
    for line in open(path):
        name, place, operation, times, _, taken = line.rstrip("\n").split("\t")
        key = place.rsplit("/", 1)[-1] if kernel else name
        if kernel and kernel not in name:
            continue
        s = sums[key]
        s["instructions"] += sign * int(times) * (not operation.startswith("mov."))
        s["matrix"] += sign * int(times) * operation.startswith("mma")
        shared = operation.startswith("ldmatrix") or ".shared" in operation and not operation.startswith("cp.")
        s["passes"] += sign * int(taken) * shared
        s["bytes"] += sign * int(taken) * 32 * (not shared)


def plain(names):
    """Without their types' letters and arguments."""
    out = subprocess.run(["c++filt"], input="\n".join(names), text=True, capture_output=True).stdout
    return {n: t.split("(")[0].replace("void ", "") for n, t in zip(names, out.splitlines())}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("file")
    p.add_argument("--less")
    p.add_argument("--lines")
    p.add_argument("--card", choices=CARDS, default="RTX 3060")
    a = p.parse_args()
    sums = collections.defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    read(a.file, 1, sums, a.lines)
    if a.less:
        read(a.less, -1, sums, a.lines)
    names = {n: n for n in sums} if a.lines else plain(list(sums))
    units, ghz, rate = CARDS[a.card]
    rows = []
    for name, s in sums.items():
        if s["instructions"]:
            rows.append((names[name], s, s["instructions"] / (4e3 * units * ghz), s["passes"] / (1e3 * units * ghz),
                         s["bytes"] / (1e3 * rate)))
    rows.sort(key=lambda r: -max(r[2:]))
    print(f"| {'line' if a.lines else 'kernel'} | warps' instructions, K | of matrix units, K | passes, K | MB "
          f"| {a.card}: issue, us | shared memory, us | memory, us |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, s, *times in rows:
        print(f"| {name} | {s['instructions'] / 1e3:.0f} | {s['matrix'] / 1e3:.0f} | {s['passes'] / 1e3:.0f} "
              f"| {s['bytes'] / 1e6:.1f} | " + " | ".join(f"{t:.1f}" for t in times) + " |")
    slowest = sum(max(r[2:]) for r in rows)
    print(f"| all | | | | {sum(r[1]['bytes'] for r in rows) / 1e6:.1f} | "
          + " | ".join(f"{sum(r[i] for r in rows):.1f}" for i in (2, 3, 4)) + " |")
    print(f"\n{a.card}: {slowest:.0f} us at least, kernels one after the other.")


main()
