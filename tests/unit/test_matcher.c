/* test_matcher.c - masks of a real vocabulary against each token pushed byte by byte,
 * what is kept and dropped, and a sampler that follows a grammar. */
#include "../../infer/session/matcher.h"
#include "../../infer/session/sample.h"
#include "../../infer/session/schema.h"
#include "../../infer/splitmix.h"
#include "../mask.h"
#include "suite.h"
#include "vocab_qwen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static q3n_tokenizer *qwen;
static q3n_trie *trie;
static uint32_t n_vocab;
static uint64_t seed = 1;

static void make_trie(void)
{
    qwen = load_qwen();
    ck_assert(!q3n_trie_new(&trie, qwen, NULL));
    n_vocab = q3n_tokenizer_count(qwen);
}

static void free_trie(void)
{
    q3n_trie_free(trie);
    q3n_tokenizer_free(qwen);
}

static q3n_grammar *grammar_of(const char *schema)
{
    q3n_grammar *g;
    ggf_error err;
    ck_assert_msg(!q3n_schema_parse(&g, schema, strlen(schema), &err), "%s", err.message);
    return g;
}

static bool is_end(uint32_t id) { return q3n_token_is_eog(qwen, (int32_t)id); }

/* A token is in the mask exactly if it can be pushed; tried with one of eight. */
static void check_mask(q3n_matcher *m, const q3n_grammar *g, const char *text, size_t len)
{
    uint32_t *mask = malloc((n_vocab + 31) / 32 * sizeof *mask);
    q3n_matcher *one;
    memcpy(mask, q3n_matcher_mask(m), (n_vocab + 31) / 32 * sizeof *mask);
    ck_assert(!q3n_matcher_new(&one, g, trie, NULL));
    ck_assert(q3n_matcher_push(one, text, len));
    for (uint32_t id = 0; id < n_vocab; id += 1 + splitmix_below(&seed, 15)) {
        const struct ggf_str token = q3n_token_text(qwen, (int32_t)id);
        bool fits = is_end(id) && q3n_matcher_done(m);
        if (token.len && !q3n_token_is_control(qwen, (int32_t)id) &&
            q3n_matcher_push(one, token.data, token.len)) {
            fits = true;
            q3n_matcher_reset(one);
            q3n_matcher_push(one, text, len);
        }
        ck_assert_msg(has_bit(mask, id) == fits, "token %u after %.*s", id, (int)len,
                      text);
    }
    q3n_matcher_free(one);
    free(mask);
}

/* Some token of the mask, the same chance for all. */
static uint32_t draw(const uint32_t *mask)
{
    uint32_t n = 0, at = 0;
    for (uint32_t i = 0; i < n_vocab; i++) n += has_bit(mask, i);
    ck_assert_uint_gt(n, 0);
    for (uint32_t left = splitmix_below(&seed, n) + 1; left; at++)
        left -= has_bit(mask, at);
    return at - 1;
}

START_TEST(masks)
{
    static const char *const schemas[] = {
        "{}",
        "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\","
        "\"maxLength\":9},"
        "\"n\":{\"type\":\"integer\",\"minimum\":3,\"maximum\":4711},\"tags\":{\"items\":"
        "{\"enum\":[\"new\",\"news\",\"old\"]}}},\"required\":[\"name\",\"n\",\"tags\"]}",
    };
    for (size_t i = 0; i < 2; i++) {
        q3n_grammar *g = grammar_of(schemas[i]);
        q3n_matcher *m;
        char text[4000];
        size_t len = 0;
        ck_assert(!q3n_matcher_new(&m, g, trie, NULL));
        if (i == 0) {
            len = strlen(strcpy(text, "{\"a"));
            ck_assert(q3n_matcher_push(m, text, len));
        }
        for (int step = 0; step < 6; step++) {
            check_mask(m, g, text, len);
            const uint32_t id = draw(q3n_matcher_mask(m));
            if (is_end(id)) break;
            const struct ggf_str token = q3n_token_text(qwen, (int32_t)id);
            ck_assert(q3n_matcher_push(m, token.data, token.len));
            ck_assert(len + token.len < sizeof text);
            memcpy(text + len, token.data, token.len);
            len += token.len;
        }
        q3n_matcher_free(m);
        q3n_grammar_free(g);
    }
}
END_TEST

static void push_all(q3n_matcher *m, const char *text)
{
    ck_assert_msg(q3n_matcher_push(m, text, strlen(text)), "%s", text);
}

static bool same_masks(q3n_matcher *a, q3n_matcher *b)
{
    return !memcmp(q3n_matcher_mask(a), q3n_matcher_mask(b), (n_vocab + 31) / 32 * 4);
}

/* Far more places than are kept, and more masks; and a stack that outlives them. */
START_TEST(places_are_dropped)
{
    q3n_grammar *g = grammar_of("{\"items\":{\"items\":{\"type\":\"string\","
                                "\"minLength\":9000,\"maxLength\":9001}}}");
    q3n_matcher *m;
    ck_assert(!q3n_matcher_new(&m, g, trie, NULL));
    push_all(m, "[[],[\"");
    for (int i = 0; i < 9000; i++) {
        ck_assert(!q3n_matcher_push(m, "x\"", 2) || i == 8999);
        if (i < 8999) push_all(m, i % 2 ? "x" : "\xc3\xa4");
        if (i % 900 == 0) ck_assert_ptr_nonnull(q3n_matcher_mask(m));
    }
    for (int i = 0; i < 100; i++) ck_assert_ptr_nonnull(q3n_matcher_mask(m));
    push_all(m, "]");
    ck_assert(!q3n_matcher_done(m));
    push_all(m, "]");
    ck_assert(q3n_matcher_done(m));
    q3n_matcher_free(m);
    q3n_grammar_free(g);
}
END_TEST

/* A mask does not depend on what was asked before. */
START_TEST(masks_are_kept)
{
    q3n_grammar *g = grammar_of("{\"items\":{\"type\":\"string\",\"maxLength\":400}}");
    q3n_matcher *old, *new;
    ck_assert(!q3n_matcher_new(&old, g, trie, NULL));
    push_all(old, "[\"");
    for (int i = 0; i < 130; i++) { /* more than are kept */
        ck_assert_ptr_nonnull(q3n_matcher_mask(old));
        push_all(old, "x");
    }
    for (int i = 0; i < 5; i++) {
        push_all(old, "\",\"ab");
        ck_assert(!q3n_matcher_new(&new, g, trie, NULL));
        push_all(new, "[\"ab");
        ck_assert(same_masks(old, new));
        q3n_matcher_free(new);
    }
    q3n_matcher_free(old);
    q3n_grammar_free(g);
}
END_TEST

/* Logits like noise: what is chosen is JSON of the schema, and the end comes exactly when
 * it is complete. */
START_TEST(sampler)
{
    q3n_grammar *g =
        grammar_of("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":"
                   "\"integer\",\"maximum\":99,\"minimum\":1},\"b\":{\"enum\":"
                   "[\"x\",\"yes\",\"no\"]}},\"required\":[\"a\",\"b\"]}");
    struct q3n_sample_params p = q3n_sample_defaults();
    q3n_sampler *s;
    float *logits = malloc((n_vocab + 70) * sizeof *logits);
    ck_assert(!q3n_sampler_new(&s, n_vocab + 70, qwen, &p, NULL));
    ck_assert(!q3n_sampler_constrain(s, g, trie, NULL));
    for (int round = 0; round < 10; round++) {
        char text[2000];
        size_t len = 0;
        for (;;) {
            for (uint32_t i = 0; i < n_vocab + 70; i++)
                logits[i] = 3 * (float)splitmix_uniform(&seed);
            const int32_t id = q3n_sampler_pick(s, logits);
            ck_assert(id >= 0 && id < (int32_t)n_vocab);
            const bool eog = is_end((uint32_t)id);
            ck_assert(!q3n_sampler_accept(s, 0 /* "!" */));
            ck_assert(q3n_sampler_accept(s, id));
            if (eog) break;
            const struct ggf_str token = q3n_token_text(qwen, id);
            ck_assert(len + token.len < sizeof text);
            memcpy(text + len, token.data, token.len);
            len += token.len;
        }
        json_t *v = json_loadb(text, len, 0, NULL);
        ck_assert_msg(v != NULL, "%.*s", (int)len, text);
        const json_int_t a = json_integer_value(json_object_get(v, "a"));
        ck_assert(a >= 1 && a <= 99 && json_is_string(json_object_get(v, "b")));
        json_decref(v);
        q3n_sampler_forget(s);
    }
    ck_assert(q3n_sampler_accept(s, 90));  /* "{" */
    ck_assert(!q3n_sampler_accept(s, 92)); /* "}" */
    ck_assert(!q3n_sampler_constrain(s, NULL, NULL, NULL));
    ck_assert(q3n_sampler_accept(s, 92));
    q3n_sampler_free(s);
    q3n_grammar_free(g);
    free(logits);
}
END_TEST

/* A pattern of a thousand ways to read each text: bounded work, and tokens that fit. */
START_TEST(too_many_ways)
{
    q3n_grammar *g = grammar_of("{\"pattern\":\"^(.?){1000}$\"}");
    q3n_matcher *m;
    ck_assert(!q3n_matcher_new(&m, g, trie, NULL));
    push_all(m, "\"");
    for (int i = 0; i < 3; i++) {
        const struct ggf_str token =
            q3n_token_text(qwen, (int32_t)draw(q3n_matcher_mask(m)));
        ck_assert(q3n_matcher_push(m, token.data, token.len));
    }
    q3n_matcher_free(m);
    q3n_grammar_free(g);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("all");
    tcase_add_unchecked_fixture(tc, make_trie, free_trie);
    tcase_add_test(tc, masks);
    tcase_add_test(tc, places_are_dropped);
    tcase_add_test(tc, masks_are_kept);
    tcase_add_test(tc, sampler);
    tcase_add_test(tc, too_many_ways);
    return SUITE_RUN("matcher", tc);
}
