#!/usr/bin/env python3
"""What PTX_REPORT counted (tests/gpu/ptx/report.cpp), for each kernel, and how long a card
would take for it at least.

    bounds.py [--less FILE] [--card NAME] [--lines KERNEL] FILE

--less: counts of a run to be subtracted.  --lines: a kernel's lines of the source.

A card's multiprocessor begins 4 warps' instructions and one pass through its shared memory
a clock.  Instructions are those of PTX but for its moves: ptxas needs more of some, fewer of
others.  Bytes are sectors that multiprocessors ask for: what comes twice may come from a
cache.  An instruction of the matrix units is 4096 products of 8 bits, or takes as long."""
import argparse
import collections
import subprocess

# Multiprocessors, GHz, GB/s, 8-bit products of a multiprocessor a clock: from NVIDIA's data
# sheets, boost clocks, nothing sparse.
CARDS = {
    "RTX 3060": (28, 1.777, 360, 1024),
    "RTX 4060 Ti": (34, 2.535, 288, 1024),
    "RTX 3090": (82, 1.695, 936, 1024),
    "RTX 4090": (128, 2.52, 1008, 1024),
    "RTX 5090": (170, 2.407, 1792, 1024),
    "H200": (132, 1.83, 4800, 4096),
}
PRODUCTS = 4096
MEASURING = {"read_all", "multiply_8", "multiply_16"}  # of infer/gpu/peak.cu


class Cost:
    def __init__(self):
        self.instructions = self.matrix = self.passes = self.bytes = 0

    def add(self, sign, operation, times, taken):
        self.instructions += sign * times * (not operation.startswith("mov."))
        self.matrix += sign * times * operation.startswith("mma.")
        if operation.startswith("cp.async"):  # from memory to shared memory
            self.bytes += sign * taken * 32
            self.passes += sign * taken / 4
        elif ".shared" in operation:
            self.passes += sign * taken
        else:
            self.bytes += sign * taken * 32

    def microseconds(self, units, ghz, rate, products):
        clock = 1e3 * units * ghz
        return (self.instructions / clock / 4, self.matrix * PRODUCTS / products / clock,
                self.passes / clock, self.bytes / rate / 1e3)


def read(path, sign, costs, kernel):
    for line in open(path):
        name, place, operation, times, _, taken = line.rstrip("\n").split("\t")
        if not kernel:
            costs[name].add(sign, operation, int(times), int(taken))
        elif kernel in name:
            costs[place.rsplit("/", 1)[-1]].add(sign, operation, int(times), int(taken))


def plain(names):
    """Names as the source has them."""
    out = subprocess.run(["c++filt"], input="\n".join(names), text=True, capture_output=True, check=True)
    return [n.split("(")[0].removeprefix("void ").rsplit("::", 1)[-1] for n in out.stdout.splitlines()]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("file")
    p.add_argument("--less")
    p.add_argument("--lines")
    p.add_argument("--card", choices=CARDS, default="RTX 3060")
    a = p.parse_args()
    costs = collections.defaultdict(Cost)
    read(a.file, 1, costs, a.lines)
    if a.less:
        read(a.less, -1, costs, a.lines)
    names = list(costs) if a.lines else plain(costs)
    rows = [(n, c, c.microseconds(*CARDS[a.card])) for n, c in zip(names, costs.values())]
    rows = sorted((r for r in rows if max(r[2]) >= 0.05 and r[0] not in MEASURING), key=lambda r: -max(r[2]))
    print(f"| {'line' if a.lines else 'kernel'} | instructions, K | matrix units, K | passes, K | MB "
          f"| {a.card}: issue, us | matrix units, us | shared memory, us | memory, us |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name, c, times in rows:
        print(f"| {name} | {c.instructions / 1e3:.0f} | {c.matrix / 1e3:.0f} | {c.passes / 1e3:.0f} "
              f"| {c.bytes / 1e6:.1f} | " + " | ".join(f"{t:.1f}" for t in times) + " |")
    print("| all | | | | | " + " | ".join(f"{sum(r[2][i] for r in rows):.1f}" for i in range(4)) + " |")
    print(f"\n{a.card}: {sum(max(r[2]) for r in rows):.0f} us at least, kernels one after the other")


main()
