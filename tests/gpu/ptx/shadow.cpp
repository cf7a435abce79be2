/* shadow.cpp - races in shared memory.
 *
 * For each byte: who wrote it last and who has read it since, and when.  Threads of a
 * block are ordered by its barriers, threads of a warp also where all of its lanes meet
 * to wait ("bar.warp.sync").  Two accesses without such an order, one of them a write,
 * end the program, in whatever order they came this time.  (Shuffles and votes order
 * no memory: "Parallel Synchronization and Communication Instructions".) */
#include "memory.h"

namespace ptx
{

struct mark {
    uint32_t barriers = NONE, syncs = 0;
    uint16_t thread = 0;
    bool warps = false, lanes = false; /* others too: of more warps, of this one */
    const instr *in = NULL;
};
struct shadow {
    std::vector<mark> written, read;
};

/* Marks of earlier blocks stay: no two blocks count the same barriers. */
shadow *shadow_of(uint32_t bytes)
{
    static shadow s;
    if (s.written.size() < bytes)
        s = { std::vector<mark>(bytes), std::vector<mark>(bytes) };
    return &s;
}

/* Is there nothing between what m stands for and now? */
static bool races(const warp &w, uint32_t thread, const mark &m)
{
    if (m.barriers != w.of->barriers) return false;
    if (m.warps || m.thread / WARP != w.number) return true;
    return m.syncs == w.syncs && (m.lanes || m.thread != thread);
}

static void set(const warp &w, uint32_t thread, const instr &in, mark &m)
{
    const bool here = m.barriers == w.of->barriers;
    const bool same = here && m.thread / WARP == w.number;
    const bool warps = here && (m.warps || !same);
    const bool lanes = same && m.syncs == w.syncs && (m.lanes || m.thread != thread);
    m = { w.of->barriers, w.syncs, (uint16_t)thread, warps, lanes, &in };
}

static const char *name(const mark &m) { return m.in ? m.in->name : "?"; }

void shadow_touch(warp &w, const instr &in, uint32_t lane, uint32_t at, uint32_t bytes,
                  access how)
{
    const uint32_t thread = w.number * WARP + lane;
    shadow &s = *w.of->shadow;
    if (how == ATOMIC) return;
    for (uint32_t i = at; i < at + bytes; i++) {
        mark &wrote = s.written[i], &read = s.read[i];
        if (races(w, thread, wrote))
            w.fail(in, "thread %u races with %u, which wrote (%s, line %u), at %u",
                   thread, wrote.thread, name(wrote), wrote.in->line & 0xfffff, i);
        if (how == READ) {
            set(w, thread, in, read);
            continue;
        }
        if (races(w, thread, read))
            w.fail(in, "thread %u races with %u, which read (%s, line %u), at %u", thread,
                   read.thread, name(read), read.in->line & 0xfffff, i);
        wrote = { w.of->barriers, w.syncs, (uint16_t)thread, false, false, &in };
        read = {};
    }
}

} // namespace ptx
