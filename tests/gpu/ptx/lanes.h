/* lanes.h - registers as the lanes of a type, for who says what operations do. */
#ifndef TESTS_GPU_PTX_LANES_H
#define TESTS_GPU_PTX_LANES_H

#include "memory.h"

#include <tuple>
#include <unordered_map>
#include <utility>

namespace ptx
{

typedef std::unordered_map<std::string, op_kind> table;

/* Of lanes that need each other: units.cpp. */
void add_warp_operations(table &t);

/* Numbers of 16 bits lie in 32, the upper half zero. */

template <class T> struct box_of {
    typedef T type;
};
template <> struct box_of<uint16_t> {
    typedef uint32_t type;
};
template <> struct box_of<int16_t> {
    typedef uint32_t type;
};
template <class T> static inline T get(const typename box_of<T>::type *p, uint32_t i)
{
    return (T)p[i];
}
template <class T> static inline void put(typename box_of<T>::type *p, uint32_t i, T v)
{
    if constexpr (sizeof(T) == 2) p[i] = (uint16_t)v;
    else p[i] = v;
}
template <class T>
static inline typename box_of<T>::type *reg(const warp &w, const instr &in, int k)
{
    return (typename box_of<T>::type *)w.at(in.o[k]);
}

/* Result R of f(A...), lane by lane. */
template <class R, class... A, class F, size_t... k>
static inline void map_lanes(warp &w, const instr &in, uint32_t lanes, F f,
                             std::index_sequence<k...>)
{
    auto *const r = reg<R>(w, in, 0);
    const std::tuple<const typename box_of<A>::type *...> a{ reg<A>(w, in, k + 1)... };
    const auto one = [&](uint32_t i) { put<R>(r, i, f(get<A>(std::get<k>(a), i)...)); };
    if (lanes == ALL)
        for (uint32_t i = 0; i < WARP; i++) one(i);
    else FOR_LANES(i, lanes) one(i);
}
template <class R, class... A, class F>
static inline void map(warp &w, const instr &in, uint32_t lanes, F f)
{
    map_lanes<R, A...>(w, in, lanes, f, std::index_sequence_for<A...>());
}

/* Predicates are sets of lanes. */
static inline void put_set(warp &w, uint32_t at, uint32_t lanes, uint32_t set)
{
    uint32_t *p = w.words(at);
    *p = (*p & ~lanes) | (set & lanes);
}
template <class A, class F>
static inline void compare(warp &w, const instr &in, uint32_t lanes, F f)
{
    const auto *a = reg<A>(w, in, 1);
    const auto *b = reg<A>(w, in, 2);
    uint32_t set = 0;
    for (uint32_t i = 0; i < WARP; i++)
        set |= (uint32_t)f(get<A>(a, i), get<A>(b, i)) << i;
    put_set(w, in.o[0], lanes, set);
}
template <class T> static void select(warp &w, const instr &in, uint32_t lanes)
{
    auto *r = reg<T>(w, in, 0);
    const auto *a = reg<T>(w, in, 1), *b = reg<T>(w, in, 2);
    const uint32_t set = *w.words(in.o[3]);
    FOR_LANES(i, lanes) r[i] = set >> i & 1 ? a[i] : b[i];
}
template <class T> static void copy(warp &w, const instr &in, uint32_t lanes)
{
    map<T, T>(w, in, lanes, [](T a) { return a; });
}

template <class A, class B> static inline int32_t dot4(uint32_t a, uint32_t b, int32_t c)
{
    for (int i = 0; i < 4; i++) c += (A)(a >> 8 * i) * (B)(b >> 8 * i);
    return c;
}

} // namespace ptx

#endif
