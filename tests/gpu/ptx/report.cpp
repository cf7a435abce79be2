/* report.cpp - what a device would have to do for memory: with PTX_REPORT=FILE a line is
 * appended to it for each line of the source and operation: how often, passes or sectors
 * that were needed, and those that were taken.
 *
 * Shared memory has 32 banks of 4 bytes; a warp's access takes as many passes as one bank
 * has different words to give, where 16 bytes a lane go by quarters of a warp and 8 by
 * halves.  Global memory comes in sectors of 32 bytes. */
#include "memory.h"

#include <cstdio>
#include <map>
#include <set>

namespace ptx
{

struct cost {
    uint64_t times = 0, needed = 0, taken = 0; /* passes, or sectors */
};
typedef std::map<std::pair<const module *, std::pair<uint32_t, std::string>>, cost> costs;

static costs *reported;

static std::string lines()
{
    std::string all;
    for (const auto &c : *reported) {
        const module &m = *c.first.first;
        const uint32_t line = c.first.second.first;
        char text[400];
        snprintf(text, sizeof text, "%s:%u\t%s\t%llu\t%llu\t%llu\n",
                 m.files.size() > line >> 20 ? m.files[line >> 20].c_str() : "?",
                 line & 0xfffff, c.first.second.second.c_str(),
                 (unsigned long long)c.second.times, (unsigned long long)c.second.needed,
                 (unsigned long long)c.second.taken);
        all += text;
    }
    return all;
}

static const char *asked()
{
    static const char *const file = getenv("PTX_REPORT");
    return file;
}

static void write_report()
{
    const std::string text = lines();
    FILE *f = fopen(asked(), "a");
    if (!f || fwrite(text.data(), 1, text.size(), f) != text.size() || fclose(f))
        die("cannot write %s", asked());
}

/* Passes of the lanes' words through the banks, those that go together at a time; one
 * each is needed. */
typedef std::vector<std::pair<uint32_t, uint32_t>> lane_words;

static void add_passes(const lane_words &words, uint32_t lanes_together, cost &c)
{
    for (uint32_t from = 0; from < WARP; from += lanes_together) {
        std::set<uint32_t> bank[32];
        size_t most = 0;
        for (const auto &w : words)
            if (w.first >= from && w.first < from + lanes_together)
                bank[w.second % 32].insert(w.second);
        for (const auto &b : bank) most = std::max(most, b.size());
        c.taken += most;
        c.needed += most != 0;
    }
}

static void shared_cost(const warp &w, const instr &in, uint32_t lanes, cost &c)
{
    const uint32_t bytes = (uint32_t)in.bytes * in.n;
    lane_words words;
    FOR_LANES(i, lanes)
    {
        const uint32_t at = (uint32_t)address(w, in, i);
        for (uint32_t k = at / 4; k <= (at + bytes - 1) / 4; k++)
            words.push_back({ i, k });
    }
    add_passes(words, bytes == 16 ? 8 : bytes == 8 ? 16 : 32, c);
}

static void global_cost(const warp &w, const instr &in, uint32_t lanes, cost &c)
{
    const uint32_t bytes = (uint32_t)in.bytes * in.n;
    std::set<uint64_t> sectors, words;
    FOR_LANES(i, lanes)
    {
        const uint64_t at = address(w, in, i);
        for (uint64_t k = at / 32; k <= (at + bytes - 1) / 32; k++) sectors.insert(k);
        for (uint64_t k = at; k < at + bytes; k++) words.insert(k);
    }
    c.taken += sectors.size();
    c.needed += (words.size() + 31) / 32;
}

void count_access(warp &w, const instr &in, uint32_t lanes)
{
    if (!asked() || !lanes || (in.where != SHARED && in.where != GLOBAL)) return;
    if (!reported) {
        reported = new costs;
        atexit(write_report);
    }
    cost &c = (*reported)[{ w.of->k->of, { in.line, in.name } }];
    c.times++;
    (in.where == SHARED ? shared_cost : global_cost)(w, in, lanes, c);
}

} // namespace ptx
