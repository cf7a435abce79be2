/* memory.cpp - loads, stores, atomic operations and copies of a warp.
 *
 * Memory of the device is memory of the host at the same address; so are the generic
 * addresses of shared and local memory and of parameters.  Addresses in shared memory
 * alone are offsets. */
#include "memory.h"

namespace ptx
{

/* ---- Where something is ------------------------------------------------------------ */

/* Global memory: one allocation, or a variable of the module. */
static bool is_global(const warp &w, const uint8_t *p, uint64_t bytes)
{
    static char *first, *end;
    static uint64_t known;
    const uint64_t version = emu_allocations();
    if (known == version && (const char *)p >= first && (const char *)p + bytes <= end)
        return true;
    for (const auto &g : w.of->k->of->global_ranges)
        if (p >= g.first && p + bytes <= g.first + g.second) return true;
    known = version;
    if (emu_allocation(p, &first, &end)) return (const char *)p + bytes <= end;
    first = end = NULL;
    return false;
}

static inline bool within(const uint8_t *p, uint32_t bytes, const uint8_t *first,
                          size_t n)
{
    return p >= first && p + bytes <= first + n;
}

static inline uint8_t *shared_at(warp &w, const instr &in, uint32_t lane, uint32_t at,
                                 uint32_t bytes, access how)
{
    block &b = *w.of;
    if (at > b.shared_bytes || bytes > b.shared_bytes - at)
        w.fail(in, "lane %u: %u bytes at %u of %u shared ones", lane, bytes, at,
               b.shared_bytes);
    if (b.shadow) shadow_touch(w, in, lane, at, bytes, how);
    return b.shared + at;
}

/* What a lane reads or writes there; value: that it writes. */
static uint8_t *place(warp &w, const instr &in, uint32_t lane, uint32_t bytes, access how,
                      const uint8_t *value = NULL)
{
    block &b = *w.of;
    uint64_t at = address(w, in, lane);
    if (in.where == PARAM)
        return in.base == NONE ? (uint8_t *)b.params + at : (uint8_t *)at;
    if (in.where == LANE_PARAM) return w.at(in.base) + (size_t)lane * in.stride + in.add;
    if (at % bytes)
        w.fail(in, "lane %u: %u bytes at %#llx are not aligned", lane, bytes,
               (unsigned long long)at);
    if (in.where == SHARED) return shared_at(w, in, lane, (uint32_t)at, bytes, how);
    uint8_t *const p = (uint8_t *)at;
    if (in.where == LOCAL || in.where == GENERIC) {
        if (within(p, bytes, w.frame, w.of->k->frame)) return p;
        if (in.where == LOCAL) w.fail(in, "lane %u leaves local memory", lane);
        if (within(p, bytes, b.params, w.of->k->param_bytes)) return p;
        if (within(p, bytes, b.shared, b.shared_bytes))
            return shared_at(w, in, lane, (uint32_t)(p - b.shared), bytes, how);
    }
    if (!is_global(w, p, bytes))
        w.fail(in, "%u bytes at %p are not in an allocation", bytes, (const void *)p);
    const bool waited = w.waited >> lane & 1;
    if (!waited && how != READ) w.fail(in, "lane %u writes before it has waited", lane);
    if (!waited || in.constant) emu_read_put(w.of->k->name.c_str(), p, bytes);
    else if (b.ordered && how == ATOMIC) order_atomic(w, lane, p);
    else if (b.ordered) order_touch(w, in, lane, p, bytes, how, value);
    return p;
}

/* Where all lanes are, if nothing has to be found out of each. */
static bool together(const warp &w, const instr &in, uint32_t lanes, uint32_t bytes,
                     uint8_t *at[WARP])
{
    const block &b = *w.of;
    const bool shared = in.where == SHARED;
    uint64_t least = UINT64_MAX, most = 0, bits = 0;
    if (shared && b.shadow) return false;
    if (!shared && (in.where != GLOBAL || in.constant || b.ordered || lanes & ~w.waited))
        return false;
    FOR_LANES(i, lanes)
    {
        const uint64_t a = shared ? (uint32_t)address(w, in, i) : address(w, in, i);
        least = std::min(least, a);
        most = std::max(most, a);
        bits |= a;
        at[i] = (shared ? b.shared : NULL) + a;
    }
    if (bits % bytes) return false;
    return shared ? most + bytes <= b.shared_bytes
                  : is_global(w, (uint8_t *)least, most - least + bytes);
}

/* ---- Loads and stores ---------------------------------------------------------------
 */

template <class T>
static inline void load_elements(warp &w, const instr &in, uint32_t lanes,
                                 uint8_t *const at[WARP])
{
    for (uint32_t k = 0; k < in.n; k++) FOR_LANES(i, lanes)
        {
            T v;
            memcpy(&v, at[i] + k * sizeof v, sizeof v);
            if (in.is_signed)
                w.set(in, k, i, (uint64_t)(int64_t)(std::make_signed_t<T>)v);
            else w.set(in, k, i, v);
        }
}

static void load(warp &w, const instr &in, uint32_t lanes)
{
    const uint32_t bytes = (uint32_t)in.bytes * in.n;
    uint8_t *at[WARP];
    count_access(w, in, in, lanes);
    if (!together(w, in, lanes, bytes, at))
        FOR_LANES(i, lanes) at[i] = place(w, in, i, bytes, READ);
    if (in.bytes == 4) load_elements<uint32_t>(w, in, lanes, at);
    else if (in.bytes == 8) load_elements<uint64_t>(w, in, lanes, at);
    else if (in.bytes == 2) load_elements<uint16_t>(w, in, lanes, at);
    else load_elements<uint8_t>(w, in, lanes, at);
}

static void store(warp &w, const instr &in, uint32_t lanes)
{
    const uint32_t bytes = (uint32_t)in.bytes * in.n;
    uint8_t *at[WARP];
    count_access(w, in, in, lanes);
    const bool known = together(w, in, lanes, bytes, at);
    FOR_LANES(i, lanes)
    {
        uint64_t v[4];
        uint8_t *const value = (uint8_t *)v;
        for (uint32_t k = 0; k < in.n; k++) {
            const uint64_t one = w.value(in, k, i);
            memcpy(value + k * in.bytes, &one, in.bytes);
        }
        memcpy(known ? at[i] : place(w, in, i, bytes, WRITE, value), value, bytes);
    }
}

/* ld.matrix: lane 8 k + r says where row r of matrix k is, 16 bytes; each lane gets word
 * l % 4 of row l / 4 of each. */
static void load_matrices(warp &w, const instr &in, uint32_t lanes)
{
    uint32_t got[4][WARP];
    count_access(w, in, in, lanes);
    for (uint32_t k = 0; k < 4; k++)
        for (uint32_t r = 0; r < 8; r++) {
            uint32_t row[4];
            memcpy(row, place(w, in, 8 * k + r, 16, READ), 16);
            for (uint32_t c = 0; c < 4; c++) got[k][4 * r + c] = row[c];
        }
    for (uint32_t k = 0; k < 4; k++) memcpy(w.words(in.o[k]), got[k], sizeof got[k]);
}

/* ---- Atomic operations ----------------------------------------------------------------
 */

template <class F>
static inline void atomic(warp &w, const instr &in, uint32_t lanes, F f)
{
    FOR_LANES(i, lanes)
    {
        uint32_t *const p = (uint32_t *)place(w, in, i, 4, ATOMIC), old = *p;
        *p = f(old, w.words(in.o[1])[i]);
        w.words(in.o[0])[i] = old;
    }
}
static void atomic_add(warp &w, const instr &in, uint32_t lanes)
{
    atomic(w, in, lanes, [](uint32_t old, uint32_t v) { return old + v; });
}
static void reduce_add(warp &w, const instr &in, uint32_t lanes)
{
    FOR_LANES(i, lanes) * (uint32_t *)place(w, in, i, 4, ATOMIC) += w.words(in.o[0])[i];
}
static void atomic_inc(warp &w, const instr &in, uint32_t lanes)
{
    atomic(w, in, lanes, [](uint32_t old, uint32_t v) { return old >= v ? 0 : old + 1; });
}

/* ---- Copies to shared memory
 * ------------------------------------------------------------ They come when they are
 * waited for; until then there is nothing that means anything. */

static void copy_begin(warp &w, const instr &in, uint32_t lanes)
{
    const uint32_t bytes = (uint32_t)in.add;
    instr from = in;
    from.where = GLOBAL;
    from.bytes = (uint8_t)bytes;
    from.base = in.o[1];
    from.base_wide = in.wide >> 1 & 1;
    from.add = 0;
    count_access(w, in, from, lanes);
    FOR_LANES(i, lanes)
    {
        const uint32_t to = (uint32_t)w.value(in, 0, i);
        if (to % bytes) w.fail(in, "lane %u: %u is not aligned to %u", i, to, bytes);
        uint8_t *p = shared_at(w, in, i, to, bytes, WRITE);
        memset(p, 0xff, bytes);
        w.copies.push_back({ i, to, bytes, place(w, from, i, bytes, READ), w.group[i] });
    }
}
static void copy_end(warp &w, const instr &, uint32_t lanes)
{
    FOR_LANES(i, lanes) w.group[i]++;
}
static void copy_wait(warp &w, const instr &in, uint32_t lanes)
{
    std::vector<warp::async> later;
    for (const warp::async &c : w.copies)
        if (lanes >> c.lane & 1 && c.group + (uint32_t)in.add < w.group[c.lane])
            memcpy(shared_at(w, in, c.lane, c.to, c.bytes, WRITE), c.from, c.bytes);
        else later.push_back(c);
    w.copies.swap(later);
}

/* ---- Order ---------------------------------------------------------------------------
 */

static void nothing(warp &, const instr &, uint32_t) {}
static void fence_memory(warp &w, const instr &, uint32_t lanes)
{
    if (w.of->ordered) order_fence(w, lanes);
}
static void wait_for_previous(warp &w, const instr &in, uint32_t lanes)
{
    if (w.of->early && w.waited & lanes) w.fail(in, "waits twice for what comes before");
    w.waited |= lanes;
}

/* ---- Names --------------------------------------------------------------------------
 */

static const op_kind loads[] = { { "xm", PLAIN, load },
                                 { "xxm", PLAIN, load },
                                 { "xxxxm", PLAIN, load } },
                     stores[] = { { "mx", PLAIN, store },
                                  { "mxx", PLAIN, store },
                                  { "mxxxx", PLAIN, store } };

static bool type_of(const std::string &s, instr &in)
{
    const size_t bits = s.size() > 1 ? strtoul(s.c_str() + 1, NULL, 10) : 0;
    if (!strchr("usbf", s[0]) || (bits != 8 && bits != 16 && bits != 32 && bits != 64))
        return false;
    in.bytes = (uint8_t)(bits / 8);
    in.is_signed = s[0] == 's';
    return true;
}

static const op_kind *load_or_store(const std::string &name, instr &in)
{
    const bool is_load = name[0] == 'l';
    in.n = 1;
    in.where = GENERIC;
    for (size_t at = 3; at < name.size();) {
        const size_t end = std::min(name.find('.', at), name.size());
        const std::string part = name.substr(at, end - at);
        at = end + 1;
        if (part == "global") in.where = GLOBAL;
        else if (part == "shared") in.where = SHARED;
        else if (part == "local") in.where = LOCAL;
        else if (part == "param") in.where = PARAM;
        else if (part == "v2") in.n = 2;
        else if (part == "v4") in.n = 4;
        else if (part == "nc") in.constant = true;
        else if (part == "volatile") continue;
        else if (!type_of(part, in)) return NULL;
    }
    return &(is_load ? loads : stores)[in.n == 4 ? 2 : in.n - 1];
}

static bool starts(const std::string &s, const char *with) { return !s.rfind(with, 0); }

const op_kind *find_operation(const std::string &name, instr &in)
{
    static const op_kind matrix = { "wwwwm", MEET, load_matrices },
                         add = { "wmw", PLAIN, atomic_add },
                         inc = { "wmw", PLAIN, atomic_inc },
                         reduce = { "mw", PLAIN, reduce_add },
                         begin = { "AAi", PLAIN, copy_begin },
                         close = { "", PLAIN, copy_end },
                         wait = { "i", PLAIN, copy_wait },
                         previous = { "", PLAIN, wait_for_previous },
                         next = { "", PLAIN, nothing }, ask = { "m", PLAIN, nothing },
                         fence = { "", PLAIN, fence_memory };
    if (starts(name, "ld.") || starts(name, "st.")) return load_or_store(name, in);
    in.where = name.find(".shared") != name.npos   ? SHARED
               : name.find(".global") != name.npos ? GLOBAL
                                                   : GENERIC;
    in.bytes = 4;
    in.n = 1;
    if (starts(name, "atom.") && name.find(".add.u32") != name.npos) return &add;
    if (starts(name, "red.") && name.find(".add.u32") != name.npos) return &reduce;
    if (starts(name, "atom.") && name.find(".inc.u32") != name.npos) return &inc;
    if (name == "ldmatrix.sync.aligned.m8n8.x4.shared.b16") {
        in.bytes = 16;
        return &matrix;
    }
    if (name == "cp.async.cg.shared.global" || name == "cp.async.ca.shared.global")
        return &begin;
    if (name == "cp.async.commit_group") return &close;
    if (name == "cp.async.wait_group") return &wait;
    if (name == "griddepcontrol.wait") return &previous;
    if (name == "griddepcontrol.launch_dependents") return &next;
    if (name == "prefetch.global.L2") return &ask;
    if (name == "membar.gl") return &fence;
    return find_register_operation(name);
}

} // namespace ptx
