#!/usr/bin/env python3
"""grids.py - write grids.c from the codebooks in the PyPI package gguf (MIT).

    pip install gguf && python3 quant/grids.py > quant/grids.c
"""
import textwrap

from gguf import quants

GRIDS = [
    ("iq2_xxs", quants.IQ2_XXS), ("iq2_xs", quants.IQ2_XS), ("iq2_s", quants.IQ2_S),
    ("iq3_xxs", quants.IQ3_XXS), ("iq3_s", quants.IQ3_S), ("iq1", quants.IQ1_S),
]


def print_table(declaration, items):
    print(f"\nconst {declaration}[{len(items)}] = {{")
    print(textwrap.fill(", ".join(items) + ",", 90, initial_indent="    ",
                        subsequent_indent="    "))
    print("};")


print("""/* grids.c - written by grids.py; see grids.h.
 *
 * The choice of points is that of llama.cpp and ik_llama.cpp (MIT licence, Copyright (c)
 * 2023-2026 The ggml authors, Copyright (c) 2024-2026 Iwan Kawrakow). */
#include "grids.h\"""")
for name, cls in GRIDS:
    cls.init_grid()
    points = cls.grid.reshape(cls.grid.shape[-2:])
    bits = 3 if len(cls.grid_map) == 8 else 2
    codes = [sum(cls.grid_map.index(level) << bits * j for j, level in enumerate(point))
             for point in points]
    assert codes == sorted(set(codes))
    print_table(f"uint16_t grid_{name}", [f"0x{c:04x}" for c in codes])
for name, cls in [("iq4_nl", quants.IQ4_NL), ("fp4", quants.MXFP4)]:
    print_table(f"int8_t levels_{name}", [str(int(v)) for v in cls.kvalues])
