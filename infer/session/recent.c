/* recent.c - see recent.h. */
#include "recent.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ==== What is remembered ================================================== */

static uint32_t window(int last_n, uint32_t n_ctx)
{
    return last_n < 0 ? n_ctx : (uint32_t)last_n;
}

static bool has_dry(const struct q3n_sample_params *p)
{
    return p->dry_multiplier > 0 && p->dry_last_n;
}

static bool has_penalties(const struct q3n_sample_params *p)
{
    return p->penalty_last_n && (p->repeat_penalty != 1 || p->frequency_penalty != 0 ||
                                 p->presence_penalty != 0);
}

int recent_init(struct recent *r, uint32_t n_vocab, const struct q3n_sample_params *p,
                ggf_error *err)
{
    const uint32_t far = has_penalties(p) ? window(p->penalty_last_n, p->n_ctx) : 0;
    const uint32_t dry = has_dry(p) ? window(p->dry_last_n, p->n_ctx) : 0;
    r->n_vocab = n_vocab;
    r->size = far > dry ? far : dry;
    if (!r->size) return 0;
    r->ids = calloc(r->size, sizeof *r->ids);
    r->mark = calloc(n_vocab, sizeof *r->mark);
    r->match = dry ? calloc(dry, sizeof *r->match) : NULL;
    return r->ids && r->mark && (r->match || !dry) ? 0 : ggf_no_memory(err);
}

void recent_free(struct recent *r)
{
    free(r->ids);
    free(r->mark);
    free(r->match);
}

void recent_clear(struct recent *r)
{
    r->n = r->n_broken = 0;
    r->n_tail = 0;
}

/* The token that came i before the last. */
static int32_t back(const struct recent *r, uint64_t i)
{
    return r->ids[(r->n - 1 - i) % r->size];
}

static uint32_t look_back(const struct recent *r, uint32_t most)
{
    return r->n < most ? (uint32_t)r->n : most;
}

/* Does the text, behind what is left of earlier text, end a sequence breaker? */
static bool breaks(const struct recent *r, const char *breaker, struct ggf_str text)
{
    const size_t len = strlen(breaker);
    if (memmem(text.data, text.len, breaker, len)) return true;
    for (size_t n = 1; n < len && n <= r->n_tail; n++)
        if (len - n <= text.len && !memcmp(r->tail + r->n_tail - n, breaker, n) &&
            !memcmp(text.data, breaker + n, len - n))
            return true;
    return false;
}

static void keep_tail(struct recent *r, struct ggf_str text)
{
    const size_t add = text.len < RECENT_TAIL ? text.len : RECENT_TAIL;
    const size_t stay = r->n_tail + add > RECENT_TAIL ? RECENT_TAIL - add : r->n_tail;
    memmove(r->tail, r->tail + r->n_tail - stay, stay);
    memcpy(r->tail + stay, text.data + text.len - add, add);
    r->n_tail = stay + add;
}

void recent_add(struct recent *r, const struct q3n_sample_params *p, int32_t id,
                struct ggf_str text)
{
    if (!r->size || id < 0 || (uint32_t)id >= r->n_vocab) return;
    r->ids[r->n++ % r->size] = id;
    if (!r->match) return;
    for (size_t i = 0; i < p->n_dry_breakers; i++)
        if (breaks(r, p->dry_breakers[i], text)) r->n_broken = r->n;
    keep_tail(r, text);
}

/* ==== Penalties =========================================================== */

void recent_penalties(const struct recent *r, const struct q3n_sample_params *p,
                      float *row)
{
    if (!has_penalties(p)) return;
    const uint32_t n = look_back(r, window(p->penalty_last_n, p->n_ctx));
    for (uint32_t i = 0; i < n; i++) r->mark[back(r, i)]++;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t *count = &r->mark[back(r, i)];
        float *logit = &row[back(r, i)];
        if (!*count) continue;
        if (*logit > 0) *logit /= p->repeat_penalty;
        else *logit *= p->repeat_penalty;
        *logit -= (float)*count * p->frequency_penalty + p->presence_penalty;
        *count = 0;
    }
}

/* ==== DRY ================================================================= */

/* For each i < n: how many tokens before and with back(i) are the same as before and with
 * back(0)?  This is the Z function of the tokens read backwards: [from, to) is the match
 * reaching furthest so far, and what lies in it was compared already. */
static void dry_matches(const struct recent *r, uint32_t n)
{
    uint32_t from = 0, to = 0;
    for (uint32_t i = 1; i < n; i++) {
        uint32_t same = 0;
        if (i < to) same = r->match[i - from] < to - i ? r->match[i - from] : to - i;
        while (i + same < n && back(r, same) == back(r, i + same)) same++;
        r->match[i] = same;
        if (i + same > to) {
            from = i;
            to = i + same;
        }
    }
}

void recent_dry(const struct recent *r, const struct q3n_sample_params *p, float *row)
{
    if (!r->match) return;
    const uint32_t n = look_back(r, window(p->dry_last_n, p->n_ctx));
    const uint64_t unbroken = r->n - r->n_broken;
    const uint32_t most = unbroken < n ? (uint32_t)unbroken : n;
    const uint32_t least = (uint32_t)p->dry_allowed_length;
    if (most < least) return;
    dry_matches(r, n);
    for (uint32_t i = 1; i < n; i++) { /* back(i - 1) came behind the match at i */
        const uint32_t same = r->match[i] < most ? r->match[i] : most;
        uint32_t *longest = &r->mark[back(r, i - 1)];
        if (same >= least && same > *longest) *longest = same;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t *longest = &r->mark[back(r, i)];
        if (!*longest) continue;
        const double cost = pow((double)p->dry_base, (double)(*longest - least));
        row[back(r, i)] -= (float)fmin((double)p->dry_multiplier * cost, 1e30);
        *longest = 0;
    }
}
