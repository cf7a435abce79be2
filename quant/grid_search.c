/* grid_search.c - see grid_search.h. */
#include "grid_search.h"
#include "grids.h"

#include <float.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* Codes end before the one with all levels highest, plus 1. */
enum { CODES_2 = 0xaaaa + 1, CODES_3 = 1 << 12, DISTANCES = 256 };

/* The lists of a grid take exactly `room` elements: that follows from its points. */
#define GRID(name, bits, shells, room)                                                   \
    static int32_t where_##name[(bits) == 2 ? CODES_2 : CODES_3];                        \
    static uint16_t lists_##name[(room) + GRID_PAST];                                    \
    static struct grid name = { grid_##name,  sizeof grid_##name / sizeof *grid_##name,  \
                                bits,         shells,                                    \
                                where_##name, lists_##name };                            \
    static void make_##name(void) { make_lists(&name); }                                 \
    static pthread_once_t once_##name = PTHREAD_ONCE_INIT

/* Squared distance of the halves of two codes: of 4 levels of 2 bits, or 2 of 3. */
static uint8_t distance(unsigned a, unsigned b, int bits)
{
    int sum = 0;
    for (; a | b; a >>= bits, b >>= bits) {
        const int d = (int)(a & ((1u << bits) - 1)) - (int)(b & ((1u << bits) - 1));
        sum += d * d;
    }
    return (uint8_t)sum;
}

struct halves {
    int bits; /* of a half */
    uint8_t distance[256][256];
};

static void make_halves(struct halves *h, int bits)
{
    h->bits = 4 * (bits == 2 ? 2 : 3) / (bits == 2 ? 1 : 2);
    for (unsigned a = 0; a < 1u << h->bits; a++)
        for (unsigned b = 0; b < 1u << h->bits; b++)
            h->distance[a][b] = distance(a, b, bits);
}

/* Append the list of a code; returns its length with the count. */
static uint32_t make_list(const struct grid *g, const struct halves *h, unsigned code,
                          uint16_t *list)
{
    uint8_t from[2048];
    bool some[DISTANCES] = { false };
    const unsigned mask = (1u << h->bits) - 1;
    const uint8_t *low = h->distance[code & mask], *high = h->distance[code >> h->bits];
    for (int p = 0; p < g->n; p++) {
        from[p] = (uint8_t)(low[g->points[p] & mask] + high[g->points[p] >> h->bits]);
        some[from[p]] = true;
    }
    uint16_t n = 0;
    for (int d = 0, shells = 0; d < DISTANCES && shells < g->shells; d++) {
        if (!some[d]) continue;
        shells++;
        for (int p = 0; p < g->n; p++)
            if (from[p] == d) list[++n] = g->points[p];
    }
    list[0] = n;
    return n + 1u;
}

static void make_lists(struct grid *g)
{
    struct halves h;
    make_halves(&h, g->bits);
    const int n_codes = g->bits == 2 ? CODES_2 : CODES_3;
    uint32_t end = 0;
    for (int p = 0, code = 0; code < n_codes; code++) {
        if (p < g->n && g->points[p] == code) {
            g->where[code] = p++;
        } else if (g->bits == 3 || !(code & code >> 1 & 0x5555)) { /* no level 3 */
            g->where[code] = (int32_t)~end;
            end += make_list(g, &h, (unsigned)code, g->lists + end);
        }
    }
}

GRID(iq2_xxs, 2, 2, 119462);
GRID(iq2_xs, 2, 2, 187770);
GRID(iq2_s, 2, 1, 50253);
GRID(iq3_xxs, 3, 2, 22825);
GRID(iq3_s, 3, 3, 28317);
GRID(iq1, 2, 3, 332234);

const struct grid *grid_get(enum grid_id id)
{
    static struct {
        const struct grid *grid;
        pthread_once_t *once;
        void (*make)(void);
    } const grids[GRID_COUNT] = {
        [GRID_IQ2_XXS] = { &iq2_xxs, &once_iq2_xxs, make_iq2_xxs },
        [GRID_IQ2_XS] = { &iq2_xs, &once_iq2_xs, make_iq2_xs },
        [GRID_IQ2_S] = { &iq2_s, &once_iq2_s, make_iq2_s },
        [GRID_IQ3_XXS] = { &iq3_xxs, &once_iq3_xxs, make_iq3_xxs },
        [GRID_IQ3_S] = { &iq3_s, &once_iq3_s, make_iq3_s },
        [GRID_IQ1] = { &iq1, &once_iq1, make_iq1 },
    };
    pthread_once(grids[id].once, grids[id].make);
    return grids[id].grid;
}

static inline float cost_of_8(const float *cost, unsigned c)
{
    return cost[c & 3] + cost[4 + (c >> 2 & 3)] + cost[8 + (c >> 4 & 3)] +
           cost[12 + (c >> 6 & 3)] + cost[16 + (c >> 8 & 3)] + cost[20 + (c >> 10 & 3)] +
           cost[24 + (c >> 12 & 3)] + cost[28 + (c >> 14)];
}

static inline float cost_of_4(const float *cost, unsigned c)
{
    return cost[c & 7] + cost[8 + (c >> 3 & 7)] + cost[16 + (c >> 6 & 7)] +
           cost[24 + (c >> 9)];
}

unsigned grid_nearest(const struct grid *g, unsigned code, const float cost[32])
{
    const uint16_t *list = g->lists + ~g->where[code];
    const int n = *list++;
    unsigned best = list[0];
    float least = FLT_MAX;
    for (int k = 0; k < n; k++) {
        const float c =
            g->bits == 2 ? cost_of_8(cost, list[k]) : cost_of_4(cost, list[k]);
        if (c < least) {
            least = c;
            best = list[k];
        }
    }
    return best;
}
