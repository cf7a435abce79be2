/* report.cpp - what a device would have to do: with PTX_REPORT=FILE a line is appended to
 * it for each kernel, line of the source and operation: how many warps did it, and of
 * memory passes or sectors that were needed, and those that were taken.
 *
 * Shared memory has 32 banks of 4 bytes; a warp's access takes as many passes as one bank
 * has different words to give, where 16 bytes a lane go by quarters of a warp and 8 by
 * halves.  Global memory comes in sectors of 32 bytes. */
#include "memory.h"

#include <algorithm>
#include <cstdio>
#include <map>

namespace ptx
{

static std::vector<const module *> *reported;

static const char *asked()
{
    static const char *const file = getenv("PTX_REPORT");
    return file;
}

/* A kernel's instructions, those of a line and name together; functions are told apart.
 */
static void add_lines(const module &m, const std::string &name, uint32_t first,
                      uint32_t end, std::string &all)
{
    std::map<std::pair<uint32_t, std::string>, cost> sums;
    for (uint32_t pc = first; pc < end; pc++) {
        if (!m.costs[pc].times) continue;
        cost &sum = sums[{ m.code[pc].line, m.code[pc].name }];
        sum.times += m.costs[pc].times;
        sum.needed += m.costs[pc].needed;
        sum.taken += m.costs[pc].taken;
    }
    for (const auto &s : sums) {
        const uint32_t file = s.first.first >> 20;
        char numbers[100];
        snprintf(numbers, sizeof numbers, "%llu\t%llu\t%llu\n",
                 (unsigned long long)s.second.times, (unsigned long long)s.second.needed,
                 (unsigned long long)s.second.taken);
        all += name + '\t' + (file < m.files.size() ? m.files[file] : "?") + ':' +
               std::to_string(s.first.first & 0xfffff) + '\t' + s.first.second + '\t' +
               numbers;
    }
}

static void write_report()
{
    std::string all;
    for (const module *m : *reported) {
        for (const auto &k : m->kernels) add_lines(*m, k->name, k->first, k->end, all);
        for (const function &f : m->functions) add_lines(*m, f.name, f.first, f.end, all);
    }
    FILE *f = fopen(asked(), "a");
    if (!f || fwrite(all.data(), 1, all.size(), f) != all.size() || fclose(f))
        die("cannot write %s", asked());
}

void report_on(module &m)
{
    if (!asked()) return;
    m.costs.reset(new cost[m.code.size()]);
    if (!reported) {
        reported = new std::vector<const module *>;
        atexit(write_report);
    }
    reported->push_back(&m);
}

/* What lanes `from` to `end` - 1 have of shared memory: as many passes as one bank has
 * different words to give.  One is needed. */
static void add_passes(const warp &w, const instr &in, uint32_t lanes, uint32_t from,
                       uint32_t end, cost &c)
{
    const uint32_t bytes = (uint32_t)in.bytes * in.n;
    uint32_t words[32][WARP], n[32] = {}, most = 0;
    for (uint32_t i = from; i < end; i++) {
        if (!(lanes >> i & 1)) continue;
        const uint32_t at = (uint32_t)address(w, in, i);
        for (uint32_t k = at / 4; k <= (at + bytes - 1) / 4; k++) {
            uint32_t *const bank = words[k % 32], &have = n[k % 32];
            if (std::find(bank, bank + have, k) != bank + have) continue;
            bank[have++] = k;
            most = std::max(most, have);
        }
    }
    c.taken += most;
    c.needed += most != 0;
}

static void shared_cost(const warp &w, const instr &in, uint32_t lanes, cost &c)
{
    const uint32_t bytes = (uint32_t)in.bytes * in.n;
    const uint32_t together = bytes == 16 ? 8 : bytes == 8 ? 16 : 32;
    for (uint32_t from = 0; from < WARP; from += together)
        add_passes(w, in, lanes, from, from + together, c);
}

static void global_cost(const warp &w, const instr &in, uint32_t lanes, cost &c)
{
    const uint32_t bytes = (uint32_t)in.bytes * in.n;
    uint64_t at[WARP], end = 0, sector = 0,
                       different = 0; /* the first behind what counts */
    uint32_t n = 0;
    FOR_LANES(i, lanes) at[n++] = address(w, in, i);
    std::sort(at, at + n);
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t last = at[i] + bytes;
        const uint64_t first_sector = std::max(sector, at[i] / 32);
        different += last - std::min(last, std::max(end, at[i]));
        end = std::max(end, last);
        sector = std::max(sector, (last - 1) / 32 + 1);
        c.taken += sector - std::min(sector, first_sector);
    }
    c.needed += (different + 31) / 32;
}

void count_access(warp &w, const instr &in, const instr &access, uint32_t lanes)
{
    const module &m = *w.of->k->of;
    if (!m.costs || !lanes) return;
    cost &c = m.costs[&in - m.code.data()];
    if (access.where == SHARED) shared_cost(w, access, lanes, c);
    else if (access.where == GLOBAL) global_cost(w, access, lanes, c);
}

} // namespace ptx
