/* order.cpp - races in the device's memory: between threads of a block, and between the
 * blocks of a launch.
 *
 * Blocks run one after the other here, so a fence that is missing changes no result.
 * Therefore it is kept, for each byte, who wrote it last and who has read it since (the
 * last of these stands for all).  Another thread's access, one of the two a write, has
 * to come after that ("Memory Consistency Model" in the PTX ISA):
 *
 * - in a block by a barrier, or where all lanes of both's warp meet to wait;
 * - between blocks by a chain: the first access, a fence, an atomic operation; one of the
 *   other block on the same counter, a fence, the second access.  What leads from link to
 *   link inside of a block is one thread's order, or a barrier, so each link may be
 *   another thread's.  That holds for membar.gl, which is fence.sc.gpu: fences of that
 *   kind have one order, which the counter tells.  (A fence of a weaker kind has to be
 *   by the thread that counts.)  It also makes a multiprocessor's L1 cache forget.
 *
 * Two may write the same bytes.  Order that comes by way of a third block is not known
 * here. */
#include "memory.h"

#include <bitset>
#include <deque>
#include <unordered_map>
#include <unordered_set>

namespace ptx
{
namespace
{

enum { THREADS = 1024, PAGE = 256 };

struct touch {
    uint32_t block = NONE, line = 0, barriers = 0;
    uint16_t thread = 0, syncs = 0;
    uint16_t fences = 0; /* that the thread had passed */
};
struct page {
    touch written[PAGE], read[PAGE];
};

/* Fences of a thread, or of a block: how many; when was the latest, and how many, or
 * when the one before, were before that time.  Times are barriers passed, plus 1. */
struct fences {
    uint32_t n = 0, n_before = 0, at = 0, at_before = 0;
    void pass(uint32_t time)
    {
        if (time != at) n_before = n, at_before = at, at = time;
        n++;
    }
};

/* What a block's atomic operation tells: fences before it. */
struct count {
    uint32_t latest = 0;
    std::vector<uint32_t> fences; /* of each thread */
};
typedef std::unordered_map<uint32_t, count> counter; /* by block */

/* An atomic operation of the block that runs, and the fences behind it. */
struct look {
    const counter *at;
    uint32_t thread, time, first = NONE;
    std::bitset<THREADS> fenced; /* threads that have passed one */
};

struct {
    uint64_t left = 0; /* blocks of the launch, that have yet to run */
    bool on = false;
    std::unordered_set<const kernel *> met;
    std::unordered_map<uint64_t, page *> pages;
    std::deque<page> pool;
    size_t used = 0;
    uint64_t last_at = 0;
    page *last = NULL;
    std::unordered_map<uint64_t, counter> counters;
    /* Of the block: */
    uint32_t block = 0;
    std::vector<fences> threads;
    fences any;
    std::vector<look> looks;
} here;

page *page_at(uint64_t at)
{
    if (here.last && here.last_at == at) return here.last;
    page *&p = here.pages[at];
    if (!p) {
        if (here.used == here.pool.size()) here.pool.emplace_back();
        else here.pool[here.used] = {};
        p = &here.pool[here.used++];
    }
    here.last_at = at;
    return here.last = p;
}

uint32_t time_of(const warp &w) { return w.of->barriers + 1; }

bool in_order(const touch &t, const warp &w, uint32_t thread)
{
    if (t.block == NONE) return true;
    if (t.block == here.block)
        return t.thread == thread || t.barriers != w.of->barriers ||
               (t.thread / WARP == w.number && t.syncs != (uint16_t)w.syncs);
    for (const look &l : here.looks) {
        if (!l.fenced[thread] && time_of(w) <= l.first) continue;
        const auto c = l.at->find(t.block);
        if (c == l.at->end()) continue;
        if (c->second.latest > t.barriers + 1) return true;
        if (c->second.fences[t.thread] > t.fences) return true;
    }
    return false;
}

void check(const touch &t, const warp &w, const instr &in, uint32_t thread,
           const uint8_t *p, const char *what)
{
    if (!in_order(t, w, thread))
        w.fail(in, "thread %u of block %u races with %u of %u, which %s (line %u), at %p",
               thread, here.block, t.thread, t.block, what, t.line & 0xfffff,
               (const void *)p);
}

/* The first of each kernel, and some of the others. */
void begin_launch(const kernel *k)
{
    here.on = here.met.insert(k).second || next_random() % 4 == 0;
    here.pages.clear();
    here.counters.clear();
    here.used = 0;
    here.last = NULL;
}

} /* namespace */

bool order_begin(const kernel *k, const emu_place &place)
{
    const dim3 &n = place.blocks;
    if (!here.left) {
        here.left = (uint64_t)n.x * n.y * n.z;
        begin_launch(k);
    }
    here.left--;
    here.block = place.block.x + n.x * (place.block.y + n.y * place.block.z);
    if (!here.on) return false;
    here.threads.assign((size_t)place.threads.x * place.threads.y * place.threads.z, {});
    here.any = {};
    here.looks.clear();
    return true;
}

void order_touch(const warp &w, const instr &in, uint32_t lane, const uint8_t *p,
                 uint32_t bytes, access how, const uint8_t *value)
{
    const uint32_t thread = w.number * WARP + lane, at = (uintptr_t)p % PAGE;
    page *const g = page_at((uintptr_t)p / PAGE);
    const touch now = { here.block,        in.line,
                        w.of->barriers,    (uint16_t)thread,
                        (uint16_t)w.syncs, (uint16_t)here.threads[thread].n };
    for (uint32_t i = 0; i < bytes; i++) {
        touch &written = g->written[at + i], &read = g->read[at + i];
        const bool changes = how == WRITE && value[i] != p[i];
        if (changes) check(read, w, in, thread, p + i, "read");
        if (changes || how == READ) check(written, w, in, thread, p + i, "wrote");
        if (how == WRITE) {
            written = now;
            read = {};
        } else {
            read = now;
        }
    }
}

void order_fence(const warp &w, uint32_t lanes)
{
    const uint32_t time = time_of(w);
    FOR_LANES(i, lanes)
    {
        const uint32_t thread = w.number * WARP + i;
        here.threads[thread].pass(time);
        here.any.pass(time);
        for (look &l : here.looks)
            if (l.thread == thread || l.time < time) {
                l.fenced.set(thread);
                l.first = std::min(l.first, time);
            }
    }
}

void order_atomic(const warp &w, uint32_t lane, const uint8_t *p)
{
    const uint32_t thread = w.number * WARP + lane, time = time_of(w);
    counter &at = here.counters[(uintptr_t)p];
    count &c = at[here.block];
    c.latest = std::max(c.latest, here.threads[thread].at == time ? time
                                  : here.any.at < time            ? here.any.at
                                                                  : here.any.at_before);
    c.fences.resize(here.threads.size());
    for (uint32_t i = 0; i < here.threads.size(); i++) {
        const fences &f = here.threads[i];
        const uint32_t n = i == thread || f.at < time ? f.n : f.n_before;
        c.fences[i] = std::max(c.fences[i], n);
    }
    here.looks.push_back({ &at, thread, time, NONE, {} });
}

} // namespace ptx
