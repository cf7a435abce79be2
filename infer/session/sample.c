/* sample.c - see sample.h.  Owns the chain and what belongs to it; the steps are in
 * candidates.c and recent.c, their names and limits in sample_params.c. */
#include "sample.h"

#include "candidates.h"
#include "matcher.h"
#include "recent.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct q3n_sampler {
    struct q3n_sample_params p; /* what it points to is ours */
    const q3n_tokenizer *tokenizer;
    uint64_t random; /* state of the generator */
    struct recent recent;
    struct candidates c;
    q3n_matcher *matcher; /* NULL: no grammar */
    const q3n_trie *trie; /* with the matcher */
    struct q3n_logit_bias *bias;
    char **breakers;
};

/* ==== Choosing ============================================================ */

/* Logits as candidates.h wants them, and far enough from the largest float that no step
 * leaves the numbers. */
static void copy_row(float *row, const float *logits, uint32_t n)
{
    static const float most = 1e30f;
    for (uint32_t i = 0; i < n; i++) {
        const float l = logits[i];
        const float low = l >= -most ? l : -most; /* also what is no number */
        row[i] = low <= most ? low : most;
    }
}

/* Strike out what the grammar forbids, 32 tokens at a time.  False if out of memory. */
static bool apply_grammar(q3n_sampler *s)
{
    if (!s->matcher) return true;
    const uint32_t *mask = q3n_matcher_mask(s->matcher);
    const uint32_t n_known = s->trie->n_tokens;
    if (!mask) return false;
    for (uint32_t from = 0; from < s->c.n_vocab; from += 32) {
        const uint32_t left = s->c.n_vocab - from, n = left < 32 ? left : 32;
        const uint32_t word = from < n_known ? mask[from / 32] : 0;
        if (word == UINT32_MAX) continue;
        for (uint32_t i = 0; i < n; i++)
            if (!(word >> i & 1)) s->c.row[from + i] = -INFINITY;
    }
    return true;
}

static void add_bias(const q3n_sampler *s)
{
    for (size_t i = 0; i < s->p.n_bias; i++)
        if ((uint32_t)s->bias[i].id < s->c.n_vocab)
            s->c.row[s->bias[i].id] += s->bias[i].bias;
}

static void take_step(q3n_sampler *s, enum q3n_step step)
{
    const struct q3n_sample_params *p = &s->p;
    struct candidates *c = &s->c;
    switch (step) {
    case Q3N_STEP_PENALTIES: recent_penalties(&s->recent, p, c->row); break;
    case Q3N_STEP_DRY: recent_dry(&s->recent, p, c->row); break;
    case Q3N_STEP_TOP_N_SIGMA: cut_top_n_sigma(c, p->top_n_sigma); break;
    case Q3N_STEP_TOP_K: cut_top_k(c, p->top_k); break;
    case Q3N_STEP_TYPICAL: cut_typical(c, p->typical_p); break;
    case Q3N_STEP_TOP_P: cut_top_p(c, p->top_p); break;
    case Q3N_STEP_MIN_P: cut_min_p(c, p->min_p); break;
    case Q3N_STEP_XTC:
        cut_xtc(c, p->xtc_probability, p->xtc_threshold, &s->random);
        break;
    case Q3N_STEP_TEMPERATURE:
        apply_temperature(c, p->temp, p->dynatemp_range, p->dynatemp_exponent);
        break;
    default: break;
    }
    /* These two change logits whatever their place. */
    if (step == Q3N_STEP_PENALTIES || step == Q3N_STEP_DRY) c->sorted = false;
}

int32_t q3n_sampler_pick(q3n_sampler *s, const float *logits)
{
    copy_row(s->c.row, logits, s->c.n_vocab);
    if (!apply_grammar(s)) return -1;
    add_bias(s);
    candidates_all(&s->c);
    for (int i = 0; s->p.steps[i]; i++) take_step(s, s->p.steps[i]);
    return candidates_draw(&s->c, &s->random);
}

/* ==== Tokens ============================================================== */

void q3n_sampler_prompt(q3n_sampler *s, int32_t id)
{
    struct ggf_str text = { "", 0 };
    if (s->tokenizer) text = q3n_token_text(s->tokenizer, id);
    recent_add(&s->recent, &s->p, id, text);
}

/* The end of the reply is no text. */
static bool goes_on(q3n_sampler *s, int32_t id)
{
    if (!s->matcher) return true;
    for (int i = 0; i < s->trie->n_eog; i++)
        if (s->trie->eog[i] == id) return q3n_matcher_done(s->matcher);
    const struct ggf_str text = q3n_token_text(s->trie->tokenizer, id);
    return text.len && q3n_matcher_push(s->matcher, text.data, text.len);
}

bool q3n_sampler_accept(q3n_sampler *s, int32_t id)
{
    if (!goes_on(s, id)) return false;
    q3n_sampler_prompt(s, id);
    return true;
}

void q3n_sampler_forget(q3n_sampler *s)
{
    recent_clear(&s->recent);
    if (s->matcher) q3n_matcher_reset(s->matcher);
}

/* ==== Making one ========================================================== */

/* Have the parameters point to copies. */
static bool own_params(q3n_sampler *s)
{
    struct q3n_sample_params *p = &s->p;
    s->bias = calloc(p->n_bias + 1, sizeof *s->bias);
    s->breakers = calloc(p->n_dry_breakers + 1, sizeof *s->breakers);
    if (!s->bias || !s->breakers) return false;
    if (p->n_bias) memcpy(s->bias, p->bias, p->n_bias * sizeof *s->bias);
    for (size_t i = 0; i < p->n_dry_breakers; i++)
        if (!(s->breakers[i] = strdup(p->dry_breakers[i]))) return false;
    p->bias = s->bias;
    p->dry_breakers = (const char *const *)s->breakers;
    return true;
}

static int make(q3n_sampler *s, uint32_t n_vocab, ggf_error *err)
{
    struct candidates *c = &s->c;
    c->n_vocab = n_vocab;
    c->min_keep = s->p.min_keep;
    c->row = calloc(n_vocab, sizeof *c->row);
    c->ids = calloc(n_vocab, sizeof *c->ids);
    if (s->p.typical_p < 1) c->score = calloc(n_vocab, sizeof *c->score);
    const bool ok =
        own_params(s) && c->row && c->ids && (c->score || s->p.typical_p >= 1);
    return ok ? recent_init(&s->recent, n_vocab, &s->p, err) : ggf_no_memory(err);
}

int q3n_sampler_new(q3n_sampler **out, uint32_t n_vocab, const q3n_tokenizer *tokenizer,
                    const struct q3n_sample_params *params, ggf_error *err)
{
    *out = NULL;
    int r = q3n_sample_check(params, err);
    if (r) return r;
    if (!n_vocab)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the vocabulary has no tokens");
    q3n_sampler *s = calloc(1, sizeof *s);
    if (!s) return ggf_no_memory(err);
    s->p = *params;
    s->tokenizer = tokenizer;
    s->random = params->seed;
    r = make(s, n_vocab, err);
    if (r) q3n_sampler_free(s);
    else *out = s;
    return r;
}

int q3n_sampler_constrain(q3n_sampler *s, const q3n_grammar *grammar,
                          const q3n_trie *trie, ggf_error *err)
{
    q3n_matcher *matcher = NULL;
    const int r = grammar ? q3n_matcher_new(&matcher, grammar, trie, err) : 0;
    if (r) return r;
    q3n_matcher_free(s->matcher);
    s->matcher = matcher;
    s->trie = trie;
    return 0;
}

void q3n_sampler_free(q3n_sampler *s)
{
    if (!s) return;
    for (size_t i = 0; s->breakers && i < s->p.n_dry_breakers; i++) free(s->breakers[i]);
    free(s->breakers);
    free(s->bias);
    free(s->c.row);
    free(s->c.ids);
    free(s->c.score);
    recent_free(&s->recent);
    q3n_matcher_free(s->matcher);
    free(s);
}
