/* run.cpp - a block of threads: warps in a random order, lanes that part and meet. */
#include "memory.h"

#include <cstdarg>
#include <cstdio>

namespace ptx
{

enum : size_t { FRAMES = 32 }; /* warps of a block */

/* ---- What went wrong ----------------------------------------------------------------
 */

void warp::fail(const instr &in, const char *format, ...) const
{
    const module &m = *of->k->of;
    const uint32_t file = in.line >> 20;
    char what[200];
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    die("%s, warp %u: %s (%s:%u): %s", of->k->name.c_str(), number, in.name,
        file < m.files.size() ? m.files[file].c_str() : "?", in.line & 0xfffff, what);
}

/* ---- A warp -------------------------------------------------------------------------
 */

/* Lanes that go on together, and where they have to look for others. */
struct group {
    uint32_t lanes, pc, limit;
};

static bool next_group(const warp &w, group *g)
{
    const uint32_t ready = w.alive & ~w.parked;
    if (!ready) return false;
    g->pc = NONE;
    FOR_LANES(i, ready) g->pc = std::min(g->pc, w.pc[i]);
    g->lanes = 0;
    g->limit = NONE;
    FOR_LANES(i, ready)
    {
        if (w.pc[i] == g->pc) g->lanes |= 1u << i;
        else g->limit = std::min(g->limit, w.pc[i]);
    }
    return true;
}

static void save(warp &w, const group &g) { FOR_LANES(i, g.lanes) w.pc[i] = g.pc; }

/* Arguments go to the function's own places; returns where it begins. */
static uint32_t enter(warp &w, const instr &in, const group &g)
{
    const module &m = *w.of->k->of;
    const call &c = m.calls[in.target];
    const function &f = m.functions[c.function];
    for (size_t k = 0; k < c.args.size(); k++) {
        const lane_param &from = c.args[k], &to = f.params[k];
        FOR_LANES(i, g.lanes)
        memcpy(w.at(to.at) + (size_t)i * to.bytes, w.at(from.at) + (size_t)i * from.bytes,
               std::min(from.bytes, to.bytes));
    }
    FOR_LANES(i, g.lanes) w.words(f.return_to)[i] = g.pc + 1;
    return f.first;
}

static const function *function_at(const module &m, uint32_t pc)
{
    const function *in = NULL;
    for (const function &f : m.functions)
        if (f.first <= pc) in = &f;
    return in;
}

/* Results go to who called. */
static void give_results(warp &w, const function &f, uint32_t lane, uint32_t to)
{
    const module &m = *w.of->k->of;
    const call &c = m.calls[m.code[to - 1].target];
    for (size_t k = 0; k < c.results.size(); k++) {
        const uint32_t bytes = std::min(f.results[k].bytes, c.results[k].bytes);
        memcpy(w.at(c.results[k].at) + (size_t)lane * c.results[k].bytes,
               w.at(f.results[k].at) + (size_t)lane * f.results[k].bytes, bytes);
    }
}

/* These lanes of a group go back to where they were called, or end. */
static void leave(warp &w, const group &g, uint32_t lanes)
{
    const kernel &k = *w.of->k;
    FOR_LANES(i, g.lanes & ~lanes) w.pc[i] = g.pc + 1;
    if (g.pc >= k.first && g.pc < k.end) {
        w.alive &= ~lanes;
        return;
    }
    const function &f = *function_at(*k.of, g.pc);
    FOR_LANES(i, lanes)
    {
        w.pc[i] = w.words(f.return_to)[i];
        give_results(w, f, i, w.pc[i]);
    }
}

/* All of the warp are there, or those that are wait. */
static bool meet(warp &w, group &g)
{
    uint32_t there = g.lanes;
    FOR_LANES(i, w.parked) if (w.pc[i] == g.pc) there |= 1u << i;
    if (there == w.alive) {
        w.parked = 0;
        g.lanes = there;
        return true;
    }
    save(w, g);
    w.parked |= g.lanes;
    return false;
}

/* Until the group parts, meets others, waits or ends. */
static void run_group(warp &w, group g, uint32_t &steps)
{
    const module &m = *w.of->k->of;
    while (g.pc < g.limit) {
        const instr &in = m.code[g.pc];
        uint32_t lanes = g.lanes;
        if (in.guard != NONE) {
            const uint32_t set = *w.words(in.guard);
            lanes &= in.unless ? ~set : set;
        }
        steps++;
        if (m.costs) m.costs[g.pc].times++;
        switch (in.kind) {
        case PLAIN:
            if (lanes) in.run(w, in, lanes);
            g.pc++;
            break;
        case BRANCH:
            if (lanes && lanes != g.lanes) {
                FOR_LANES(i, g.lanes) w.pc[i] = lanes >> i & 1 ? in.target : g.pc + 1;
                return;
            }
            g.pc = lanes ? in.target : g.pc + 1;
            break;
        case CALL:
            if (lanes != g.lanes) w.fail(in, "some lanes call");
            g.pc = enter(w, in, g);
            break;
        case RETURN:
            if (lanes) {
                leave(w, g, lanes);
                return;
            }
            g.pc++;
            break;
        case MEET:
        case BARRIER:
            if (in.guard != NONE && lanes != g.lanes) w.fail(in, "some lanes come");
            if (!meet(w, g)) return;
            if (w.alive != ALL) w.fail(in, "lanes of the warp have ended");
            if (in.run) in.run(w, in, g.lanes);
            g.pc++;
            if (in.kind == MEET) break;
            w.at_barrier = true;
            save(w, g);
            return;
        }
    }
    save(w, g);
}

/* Until it ends, waits for the block, or others are to have a turn. */
static void run_warp(warp &w, uint32_t turn)
{
    uint32_t steps = 0;
    group g;
    while (w.alive && !w.at_barrier && steps < turn) {
        if (next_group(w, &g)) {
            run_group(w, g, steps);
            continue;
        }
        const uint32_t lane = (uint32_t)__builtin_ctz(w.alive);
        w.fail(w.of->k->of->code[w.pc[lane]], "not all lanes come");
    }
}

/* ---- A block ------------------------------------------------------------------------
 */

static uint8_t *frames(size_t bytes)
{
    static uint8_t *memory;
    static size_t have;
    if (bytes <= have) return memory;
    if (memory) munmap(memory, have);
    memory = (uint8_t *)mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) die("no memory for registers");
    have = bytes;
    return memory;
}

static void set_places(warp &w, const emu_place &place)
{
    const block &b = *w.of;
    const uint3 &c = place.block;
    for (uint32_t i = 0; i < WARP; i++) {
        const uint32_t t = w.number * WARP + i, x = place.threads.x, y = place.threads.y;
        const uint32_t v[SPECIALS] = { t % x,
                                       t / x % y,
                                       t / x / y,
                                       x,
                                       y,
                                       place.threads.z,
                                       c.x,
                                       c.y,
                                       c.z,
                                       place.blocks.x,
                                       place.blocks.y,
                                       place.blocks.z,
                                       i };
        for (uint32_t s = 0; s < SPECIALS; s++) w.words(s * 4 * WARP)[i] = v[s];
        for (const local_memory &l : b.k->locals)
            w.longs(l.reg)[i] = (uint64_t)(w.frame + l.at + (size_t)i * l.bytes);
        for (const auto &p : b.k->param_addresses)
            w.longs(p.first)[i] = (uint64_t)(b.params + p.second);
    }
}

static void set_up(block &b, const emu_place &place)
{
    const uint32_t n = place.threads.x * place.threads.y * place.threads.z;
    const size_t frame = (b.k->frame + 4095) / 4096 * 4096;
    if (!n || n % WARP || n > FRAMES * WARP)
        die("%s: blocks of %u threads", b.k->name.c_str(), n);
    uint8_t *const at = frames(frame * FRAMES);
    b.warps.resize(n / WARP);
    for (uint32_t i = 0; i < n / WARP; i++) {
        warp &w = b.warps[i];
        w.of = &b;
        w.frame = at + i * frame;
        w.constants = b.k->of->constants.data();
        w.number = i;
        w.alive = ALL;
        w.parked = w.syncs = 0;
        w.at_barrier = false;
        w.waited = b.early ? 0u : ALL;
        w.copies.clear();
        memset(w.group, 0, sizeof w.group);
        for (uint32_t l = 0; l < WARP; l++) w.pc[l] = b.k->first;
        set_places(w, place);
    }
}

/* Who waits goes on when all are there that have not ended. */
static bool pass_barrier(block &b)
{
    for (const warp &w : b.warps)
        if (w.alive && !w.at_barrier) return false;
    for (warp &w : b.warps) w.at_barrier = false;
    b.barriers++;
    return true;
}

void run(const kernel &k, const uint8_t *params, size_t asked, const emu_place &place)
{
    static uint32_t barriers;
    block b = {};
    std::vector<uint32_t> order;
    b.k = &k;
    b.barriers = barriers;
    b.params = params;
    b.shared_bytes = k.of->asked_at + (uint32_t)asked;
    b.shared = (uint8_t *)poisoned(b.shared_bytes);
    if (!b.shared) die("no memory");
    b.early = !place.waited;
    b.ordered = order_begin(&k, place);
    if (next_random() % 4 == 0) b.shadow = shadow_of(b.shared_bytes);
    set_up(b, place);
    for (uint32_t i = 0; i < b.warps.size(); i++) order.push_back(i);
    shuffle(order);
    for (bool any = true; any;) {
        any = false;
        for (uint32_t i : order) {
            warp &w = b.warps[i];
            if (!w.alive || w.at_barrier) continue;
            run_warp(w, (uint32_t)(next_random() % 2000) + 1);
            any = true;
        }
        if (!any)
            any = std::any_of(b.warps.begin(), b.warps.end(),
                              [](const warp &w) { return w.alive; }) &&
                  pass_barrier(b);
    }
    for (const warp &w : b.warps)
        if (w.waited != ALL)
            die("%s: a thread has not waited for what comes before", k.name.c_str());
    barriers = b.barriers + 1;
    free(b.shared);
}

} // namespace ptx
