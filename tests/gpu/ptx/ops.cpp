/* ops.cpp - what operations do that each lane does for itself. */
#include "lanes.h"

#include <cfenv>

namespace ptx
{

/* ---- Numbers ----------------------------------------------------------------------- */

/* Whole numbers wrap. */
template <class T> static inline T minimum(T a, T b) { return b < a ? b : a; }
template <class T> static inline T maximum(T a, T b) { return a < b ? b : a; }

static inline uint32_t permute(uint32_t a, uint32_t b, uint32_t s)
{
    const uint64_t bytes = a | (uint64_t)b << 32;
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        const uint32_t pick = s >> 4 * i & 15;
        uint32_t byte = (uint32_t)(bytes >> 8 * (pick & 7)) & 255;
        if (pick & 8) byte = byte & 128 ? 255 : 0;
        v |= byte << 8 * i;
    }
    return v;
}
static inline int32_t dot2(uint32_t a, uint32_t b, int32_t c)
{
    return c + (int16_t)a * (int8_t)b + (int16_t)(a >> 16) * (int8_t)(b >> 8);
}
template <class T> static inline T insert(T a, T b, uint32_t at, uint32_t n)
{
    const uint32_t bits = 8 * sizeof(T);
    T mask;
    at &= 255;
    n &= 255;
    if (at >= bits || !n) return b;
    mask = n >= bits ? (T) ~(T)0 : (T)(((T)1 << n) - 1);
    return (T)((b & ~(T)(mask << at)) | (T)((a & mask) << at));
}
/* Its error is at most 2^-22.5 of the value: any that large, but the same each time. */
static inline float power_of_2(float a)
{
    const uint32_t bits = f32_bits(a);
    const float v = exp2f(fabsf(a) < 0x1p-126f ? 0 : a);
    if (!(v >= 0x1p-126f)) return v == v ? 0 : v;
    if (v > 0x1p127f) return v;
    return f32_of_bits(f32_bits(v) + (bits * 0x9e3779b1u >> 16) % 3 - 1);
}
template <class D> static inline D rounded(double v) /* to whole numbers that there are */
{
    if (v != v) return 0;
    if (v <= (double)std::numeric_limits<D>::min()) return std::numeric_limits<D>::min();
    if (v >= (double)std::numeric_limits<D>::max()) return std::numeric_limits<D>::max();
    return (D)v;
}

static void fma_down(warp &w, const instr &in, uint32_t lanes)
{
    float *r = (float *)w.at(in.o[0]);
    const volatile float *a = (float *)w.at(in.o[1]), *b = (float *)w.at(in.o[2]),
                         *c = (float *)w.at(in.o[3]);
    fesetround(FE_DOWNWARD);
    FOR_LANES(i, lanes)
    {
        volatile float v = fmaf(a[i], b[i], c[i]);
        r[i] = v;
    }
    fesetround(FE_TONEAREST);
}

/* ---- Packing ------------------------------------------------------------------------
 */

static void pack_words(warp &w, const instr &in, uint32_t lanes)
{
    uint64_t *r = w.longs(in.o[0]);
    const uint32_t *a = w.words(in.o[1]), *b = w.words(in.o[2]);
    FOR_LANES(i, lanes) r[i] = a[i] | (uint64_t)b[i] << 32;
}
static void unpack_words(warp &w, const instr &in, uint32_t lanes)
{
    uint32_t *r = w.words(in.o[0]), *s = w.words(in.o[1]);
    const uint64_t *a = w.longs(in.o[2]);
    FOR_LANES(i, lanes)
    {
        const uint64_t v = a[i];
        r[i] = (uint32_t)v;
        s[i] = (uint32_t)(v >> 32);
    }
}
static void pack_halves(warp &w, const instr &in, uint32_t lanes)
{
    uint32_t *r = w.words(in.o[0]);
    const uint32_t *a = w.words(in.o[1]), *b = w.words(in.o[2]);
    FOR_LANES(i, lanes) r[i] = (a[i] & 0xffff) | b[i] << 16;
}
static void unpack_halves(warp &w, const instr &in, uint32_t lanes)
{
    uint32_t *r = w.words(in.o[0]), *s = w.words(in.o[1]);
    const uint32_t *a = w.words(in.o[2]);
    FOR_LANES(i, lanes)
    {
        const uint32_t v = a[i];
        r[i] = v & 0xffff;
        s[i] = v >> 16;
    }
}

/* ---- Predicates ---------------------------------------------------------------------
 */

template <class F> static inline void logic(warp &w, const instr &in, uint32_t lanes, F f)
{
    put_set(w, in.o[0], lanes, f(*w.words(in.o[1]), *w.words(in.o[2])));
}

/* ---- Conversions: cvt[.rounding][.sat].to.from ---------------------------------------
 */

template <class D, class S, class F>
static inline void convert(warp &w, const instr &in, uint32_t lanes, F f)
{
    FOR_LANES(i, lanes)
    {
        const uint64_t v = w.value(in, 1, i);
        S s;
        memcpy(&s, &v, sizeof s); /* the lower bytes */
        const D d = f(s);
        uint64_t r = 0;
        if constexpr (std::is_integral_v<D> && std::is_signed_v<D>)
            r = (uint64_t)(int64_t)d;
        else memcpy(&r, &d, sizeof d);
        w.set(in, 0, i, r);
    }
}
template <class D, class S> static void cast(warp &w, const instr &in, uint32_t lanes)
{
    convert<D, S>(w, in, lanes, [](S s) { return (D)s; });
}

/* Between addresses in shared memory and those of the host. */
template <bool to_shared>
static void convert_address(warp &w, const instr &in, uint32_t lanes)
{
    const uint64_t base = (uint64_t)w.of->shared;
    FOR_LANES(i, lanes)
    w.longs(in.o[0])[i] = w.longs(in.o[1])[i] + (to_shared ? 0 - base : base);
}

struct half {
    uint16_t bits;
};

/* ---- The table ----------------------------------------------------------------------
 */

template <class T> static constexpr char letter()
{
    return sizeof(T) == 8 ? 'd' : sizeof(T) == 4 ? 'w' : 'h';
}
template <class... T> struct letters {
    static constexpr char text[sizeof...(T) + 1] = { letter<T>()..., 0 };
};

#define OP1(R, A, e)                                                                     \
    {                                                                                    \
        letters<R, A>::text, PLAIN, [](warp &w, const instr &in, uint32_t lanes) {       \
            map<R, A>(w, in, lanes, [](A a) -> R { return (R)(e); });                    \
        }                                                                                \
    }
#define OP2(R, A, B, e)                                                                  \
    {                                                                                    \
        letters<R, A, B>::text, PLAIN, [](warp &w, const instr &in, uint32_t lanes) {    \
            map<R, A, B>(w, in, lanes, [](A a, B b) -> R { return (R)(e); });            \
        }                                                                                \
    }
#define OP3(R, A, B, C, e)                                                               \
    {                                                                                    \
        letters<R, A, B, C>::text, PLAIN, [](warp &w, const instr &in, uint32_t lanes) { \
            map<R, A, B, C>(w, in, lanes, [](A a, B b, C c) -> R { return (R)(e); });    \
        }                                                                                \
    }
#define SETP(letters, A, e)                                                              \
    {                                                                                    \
        letters, PLAIN, [](warp &w, const instr &in, uint32_t lanes) {                   \
            compare<A>(w, in, lanes, [](A a, A b) { return e; });                        \
        }                                                                                \
    }
#define LOGIC(e)                                                                         \
    {                                                                                    \
        "ppp", PLAIN, [](warp &w, const instr &in, uint32_t lanes) {                     \
            logic(w, in, lanes, [](uint32_t a, uint32_t b) -> uint32_t { return e; });   \
        }                                                                                \
    }
#define CVT(D, S, e)                                                                     \
    {                                                                                    \
        "xx", PLAIN, [](warp &w, const instr &in, uint32_t lanes) {                      \
            convert<D, S>(w, in, lanes, [](S a) -> D { return e; });                     \
        }                                                                                \
    }

/* What is the same for several types. */
template <class U, class S> static void whole(table &t, const std::string &bits)
{
    const char l = letter<U>();
    const std::string u = ".u" + bits, s = ".s" + bits, b = ".b" + bits;
    const unsigned most = 8 * sizeof(U) - 1;
    (void)most;
    static const std::string *const kept = new std::string{ 'p', l, l };
    const char *const pll = kept->c_str();
    static const std::string *const kept_selp = new std::string{ l, l, l, 'p' };
    for (const std::string &us : { u, s }) {
        t["add" + us] = OP2(U, U, U, a + b);
        t["sub" + us] = OP2(U, U, U, a - b);
        t["mul.lo" + us] = OP2(U, U, U, a * b);
        t["mad.lo" + us] = OP3(U, U, U, U, a * b + c);
        t["setp.eq" + us] = SETP(pll, U, a == b);
        t["setp.ne" + us] = SETP(pll, U, a != b);
    }
    t["neg" + s] = OP1(U, U, 0 - a);
    t["abs" + s] = OP1(U, S, a < 0 ? -a : a);
    t["div" + u] = OP2(U, U, U, b ? a / b : (U)-1);
    t["rem" + u] = OP2(U, U, U, b ? a % b : a);
    t["min" + u] = OP2(U, U, U, minimum(a, b));
    t["max" + u] = OP2(U, U, U, maximum(a, b));
    t["min" + s] = OP2(S, S, S, minimum(a, b));
    t["max" + s] = OP2(S, S, S, maximum(a, b));
    t["and" + b] = OP2(U, U, U, a & b);
    t["or" + b] = OP2(U, U, U, a | b);
    t["xor" + b] = OP2(U, U, U, a ^ b);
    t["not" + b] = OP1(U, U, ~a);
    t["shl" + b] = OP2(U, U, uint32_t, b >= 8 * sizeof(U) ? 0 : a << b);
    t["shr" + b] = t["shr" + u] = OP2(U, U, uint32_t, b >= 8 * sizeof(U) ? 0 : a >> b);
    t["shr" + s] = OP2(S, S, uint32_t, a >> (b < 8 * sizeof(U) ? b : 8 * sizeof(U) - 1));
    t["setp.eq" + b] = SETP(pll, U, a == b);
    t["setp.ne" + b] = SETP(pll, U, a != b);
    t["setp.lt" + u] = SETP(pll, U, a < b);
    t["setp.le" + u] = SETP(pll, U, a <= b);
    t["setp.gt" + u] = SETP(pll, U, a > b);
    t["setp.ge" + u] = SETP(pll, U, a >= b);
    t["setp.lt" + s] = SETP(pll, S, a < b);
    t["setp.le" + s] = SETP(pll, S, a <= b);
    t["setp.gt" + s] = SETP(pll, S, a > b);
    t["setp.ge" + s] = SETP(pll, S, a >= b);
    for (const std::string &any : { u, s, b, ".f" + bits }) {
        t["mov" + any] = { letters<U, U>::text, PLAIN, copy<U> };
        t["selp" + any] = { kept_selp->c_str(), PLAIN, select<U> };
    }
}

static void floats(table &t)
{
    for (const char *rn : { ".f32", ".rn.f32" }) {
        const std::string s = rn;
        t["add" + s] = OP2(float, float, float, a + b);
        t["sub" + s] = OP2(float, float, float, a - b);
        t["mul" + s] = OP2(float, float, float, a *b);
    }
    t["fma.rn.f32"] = OP3(float, float, float, float, __builtin_fmaf(a, b, c));
    t["fma.rm.f32"] = { "wwww", PLAIN, fma_down };
    t["div.rn.f32"] = OP2(float, float, float, a / b);
    t["rcp.rn.f32"] = OP1(float, float, 1 / a);
    t["sqrt.rn.f32"] = OP1(float, float, sqrtf(a));
    t["rsqrt.approx.f32"] = OP1(float, float, (float)(1 / sqrt((double)a)));
    t["ex2.approx.ftz.f32"] = OP1(float, float, power_of_2(a));
    t["neg.f32"] = OP1(float, float, -a);
    t["abs.f32"] = OP1(float, float, fabsf(a));
    t["min.f32"] = OP2(float, float, float, fminf(a, b));
    t["max.f32"] = OP2(float, float, float, fmaxf(a, b));
    t["add.f64"] = OP2(double, double, double, a + b);
    t["mul.f64"] = OP2(double, double, double, a *b);
    t["fma.rn.f64"] = OP3(double, double, double, double, __builtin_fma(a, b, c));
    t["setp.eq.f32"] = SETP("pww", float, a == b);
    t["setp.ne.f32"] = SETP("pww", float, a<b || a> b);
    t["setp.lt.f32"] = SETP("pww", float, a < b);
    t["setp.le.f32"] = SETP("pww", float, a <= b);
    t["setp.gt.f32"] = SETP("pww", float, a > b);
    t["setp.ge.f32"] = SETP("pww", float, a >= b);
    t["setp.equ.f32"] = SETP("pww", float, !(a < b || a > b));
    t["setp.neu.f32"] = SETP("pww", float, a != b);
    t["setp.ltu.f32"] = SETP("pww", float, !(a >= b));
    t["setp.leu.f32"] = SETP("pww", float, !(a > b));
    t["setp.gtu.f32"] = SETP("pww", float, !(a <= b));
    t["setp.geu.f32"] = SETP("pww", float, !(a < b));
    t["setp.num.f32"] = SETP("pww", float, a == a && b == b);
    t["setp.nan.f32"] = SETP("pww", float, a != a || b != b);
}

static void others(table &t)
{
    t["mul.wide.u16"] = OP2(uint32_t, uint16_t, uint16_t, (uint32_t)a * b);
    t["mul.wide.s16"] = OP2(int32_t, int16_t, int16_t, a * b);
    t["mul.wide.u32"] = OP2(uint64_t, uint32_t, uint32_t, (uint64_t)a * b);
    t["mul.wide.s32"] = OP2(int64_t, int32_t, int32_t, (int64_t)a * b);
    t["mul.hi.u32"] = OP2(uint32_t, uint32_t, uint32_t, (uint64_t)a * b >> 32);
    t["mad.wide.u32"] = OP3(uint64_t, uint32_t, uint32_t, uint64_t, (uint64_t)a * b + c);
    t["mad.wide.s32"] =
        OP3(uint64_t, int32_t, int32_t, uint64_t, (uint64_t)((int64_t)a * b) + c);
    t["prmt.b32"] = OP3(uint32_t, uint32_t, uint32_t, uint32_t, permute(a, b, c));
    t["popc.b32"] = OP1(uint32_t, uint32_t, __builtin_popcount(a));
    t["clz.b32"] = OP1(uint32_t, uint32_t, a ? __builtin_clz(a) : 32);
    t["dp4a.s32.s32"] =
        OP3(int32_t, uint32_t, uint32_t, int32_t, (dot4<int8_t, int8_t>(a, b, c)));
    t["dp4a.u32.s32"] =
        OP3(int32_t, uint32_t, uint32_t, int32_t, (dot4<uint8_t, int8_t>(a, b, c)));
    t["dp2a.lo.s32.s32"] = OP3(int32_t, uint32_t, uint32_t, int32_t, dot2(a, b, c));
    t["dp2a.hi.s32.s32"] = OP3(int32_t, uint32_t, uint32_t, int32_t, dot2(a, b >> 16, c));
    t["bfi.b32"] = { "wwwww", PLAIN, [](warp &w, const instr &in, uint32_t lanes) {
                        FOR_LANES(i, lanes)
                        w.words(in.o[0])[i] =
                            insert<uint32_t>(w.words(in.o[1])[i], w.words(in.o[2])[i],
                                             w.words(in.o[3])[i], w.words(in.o[4])[i]);
                    } };
    t["bfi.b64"] = { "dddww", PLAIN, [](warp &w, const instr &in, uint32_t lanes) {
                        FOR_LANES(i, lanes)
                        w.longs(in.o[0])[i] =
                            insert<uint64_t>(w.longs(in.o[1])[i], w.longs(in.o[2])[i],
                                             w.words(in.o[3])[i], w.words(in.o[4])[i]);
                    } };
    t["mov.b64 pack"] = { "dww", PLAIN, pack_words };
    t["mov.b64 unpack"] = { "wwd", PLAIN, unpack_words };
    t["mov.b32 pack"] = { "whh", PLAIN, pack_halves };
    t["mov.b32 unpack"] = { "hhw", PLAIN, unpack_halves };

    t["mov.pred"] = { "pp", PLAIN, [](warp &w, const instr &in, uint32_t lanes) {
                         put_set(w, in.o[0], lanes, *w.words(in.o[1]));
                     } };
    t["not.pred"] = { "pp", PLAIN, [](warp &w, const instr &in, uint32_t lanes) {
                         put_set(w, in.o[0], lanes, ~*w.words(in.o[1]));
                     } };
    t["and.pred"] = LOGIC(a & b);
    t["or.pred"] = LOGIC(a | b);
    t["xor.pred"] = LOGIC(a ^ b);

    t["bra"] = t["bra.uni"] = { "L", BRANCH, NULL };
    t["ret"] = t["exit"] = { "", RETURN, NULL };
    t["bar.sync"] = { "i", BARRIER, NULL };
}

static void conversions(table &t)
{
    t["cvt.u16.u32"] = t["cvt.u16.u64"] = CVT(uint16_t, uint16_t, a);
    t["cvt.u32.u64"] = t["cvt.s32.s64"] = CVT(uint32_t, uint32_t, a);
    t["cvt.u32.u16"] = CVT(uint32_t, uint16_t, a);
    t["cvt.u64.u16"] = CVT(uint64_t, uint16_t, a);
    t["cvt.u64.u32"] = CVT(uint64_t, uint32_t, a);
    t["cvt.s64.s32"] = CVT(int64_t, int32_t, a);
    t["cvt.s32.s16"] = CVT(int32_t, int16_t, a);
    t["cvt.u16.u8"] = CVT(uint16_t, uint8_t, a);
    t["cvt.u32.u8"] = CVT(uint32_t, uint8_t, a);
    t["cvt.s16.s8"] = CVT(int16_t, int8_t, a);
    t["cvt.s32.s8"] = CVT(int32_t, int8_t, a);
    t["cvt.rn.f32.s32"] = CVT(float, int32_t, (float)a);
    t["cvt.rn.f32.u32"] = CVT(float, uint32_t, (float)a);
    t["cvt.rn.f32.s16"] = CVT(float, int16_t, (float)a);
    t["cvt.rn.f32.u16"] = CVT(float, uint16_t, (float)a);
    t["cvt.rn.f32.s8"] = CVT(float, int8_t, (float)a);
    t["cvt.rn.f32.u8"] = CVT(float, uint8_t, (float)a);
    t["cvt.rn.f32.s64"] = CVT(float, int64_t, (float)a);
    t["cvt.rn.f32.u64"] = CVT(float, uint64_t, (float)a);
    t["cvt.rn.f64.s64"] = CVT(double, int64_t, (double)a);
    t["cvt.rn.f64.u32"] = CVT(double, uint32_t, (double)a);
    t["cvt.rn.f64.s32"] = CVT(double, int32_t, (double)a);
    t["cvt.f64.f32"] = CVT(double, float, (double)a);
    t["cvt.rn.f32.f64"] = CVT(float, double, (float)a);
    t["cvt.rni.f64.f64"] = CVT(double, double, nearbyint(a));
    t["cvt.rni.f32.f32"] = CVT(float, float, nearbyintf(a));
    t["cvt.rni.s32.f32"] = CVT(int32_t, float, rounded<int32_t>(nearbyint((double)a)));
    t["cvt.rzi.s32.f32"] = CVT(int32_t, float, rounded<int32_t>(trunc((double)a)));
    t["cvt.rzi.u32.f32"] = CVT(uint32_t, float, rounded<uint32_t>(trunc((double)a)));
    t["cvt.sat.f32.f32"] = CVT(float, float, a > 0 ? a < 1 ? a : 1 : 0);
    t["cvt.f32.f16"] = CVT(float, half, f16_to_f32(a.bits));
    t["cvt.rn.f16.f32"] = CVT(uint16_t, float, f32_to_f16(a));
    t["cvt.rn.bf16.f32"] = CVT(uint16_t, float, f32_to_bf16(a));
    t["cvt.rna.tf32.f32"] = CVT(
        uint32_t, uint32_t, (a & 0x7f800000) == 0x7f800000 ? a : (a + 0x1000) & ~0x1fffu);
    t["cvt.f32.bf16"] = CVT(float, half, bf16_to_f32(a.bits));
    /* Where something is does not depend on how it is said: see address_of(). */
    t["cvta.to.shared.u64"] = { "dd", PLAIN, convert_address<true> };
    t["cvta.shared.u64"] = { "dd", PLAIN, convert_address<false> };
    for (const char *name : { "cvta.to.global.u64", "cvta.to.local.u64", "cvta.local.u64",
                              "cvta.global.u64", "cvta.param.u64" })
        t[name] = t["mov.b64"];
}

static table all()
{
    table t;
    whole<uint16_t, int16_t>(t, "16");
    whole<uint32_t, int32_t>(t, "32");
    whole<uint64_t, int64_t>(t, "64");
    floats(t);
    others(t);
    add_warp_operations(t);
    conversions(t);
    return t;
}

const op_kind *find_register_operation(const std::string &name)
{
    static const table *const t = new table(all());
    const auto at = t->find(name);
    return at == t->end() ? NULL : &at->second;
}

} // namespace ptx
