/* test_align.c - a prompt told in the tokens that are held: the same text, as many of the
 * held tokens as can be, control tokens only where both have them. */
#include "suite.h"
#include "vocab_qwen.h"

#include "../../infer/text/align.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static q3n_tokenizer *qwen;

static void setup(void) { qwen = load_qwen(); }
static void teardown(void) { q3n_tokenizer_free(qwen); }

static struct q3n_ids encode(const char *text, bool special)
{
    struct q3n_ids ids = { 0 };
    ggf_error err;
    ck_assert_int_eq(q3n_encode(qwen, text, strlen(text), special, &ids, &err), 0);
    return ids;
}

/* A token for each letter: not what a tokenizer makes. */
static struct q3n_ids spell(const char *text)
{
    struct q3n_ids all = { 0 };
    for (; *text; text++) {
        const char one[2] = { *text, 0 };
        struct q3n_ids ids = encode(one, false);
        ck_assert_uint_eq(ids.n, 1);
        ck_assert(q3n_ids_push(&all, ids.ids[0]));
        q3n_ids_free(&ids);
    }
    return all;
}

/* ids become the first n held tokens and the last `rest` of what they were. */
static void check(struct q3n_ids held, struct q3n_ids ids, size_t n, size_t rest)
{
    int32_t *before = calloc(ids.n + 1, sizeof *before);
    const size_t n_before = ids.n;
    if (n_before) memcpy(before, ids.ids, n_before * sizeof *before);
    ck_assert(q3n_align(qwen, held.ids, held.n, &ids));
    ck_assert_uint_eq(ids.n, n + rest);
    if (n) ck_assert_mem_eq(ids.ids, held.ids, n * sizeof *before);
    if (rest)
        ck_assert_mem_eq(ids.ids + n, before + n_before - rest, rest * sizeof *before);
    free(before);
    q3n_ids_free(&held);
    q3n_ids_free(&ids);
}

START_TEST(held_tokens_stay)
{
    struct q3n_ids rest = encode("<|im_end|>\n", true);
    check(spell("The whale swam"), encode("The whale swam<|im_end|>\n", true), 14,
          rest.n);
    q3n_ids_free(&rest);
}
END_TEST

START_TEST(up_to_where_they_differ)
{
    struct q3n_ids all = encode("The whale sank", false);
    ck_assert_uint_eq(all.n, 3); /* "The", " whale", " sank" */
    q3n_ids_free(&all);
    check(spell("The whale swam"), encode("The whale sank", false), 9, 1);
    check(spell("A whale"), encode("The whale", false), 0, 2);
}
END_TEST

START_TEST(not_in_the_middle_of_a_token)
{
    check(spell("The wha"), encode("The whale", false), 3, 1);
    check(encode("The whale", false), spell("The wha"), 1, 4);
}
END_TEST

START_TEST(control_tokens_are_no_text)
{
    struct q3n_ids a = encode("a", false), name = encode("<|im_end|>", false);
    ck_assert_uint_gt(name.n, 1);
    check(encode("a<|im_end|>", true), encode("a<|im_end|>", false), 1, name.n);
    check(encode("a<|im_end|>", false), encode("a<|im_end|>", true), 1, 1);
    check(encode("a<|im_end|>", true), encode("a<|im_end|>", true), 2, 0);
    q3n_ids_free(&a);
    q3n_ids_free(&name);
}
END_TEST

START_TEST(nothing_held)
{
    check((struct q3n_ids){ 0 }, encode("The whale", false), 0, 2);
    check(encode("The whale", false), (struct q3n_ids){ 0 }, 0, 0);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("align");
    tcase_add_unchecked_fixture(t, setup, teardown);
    tcase_add_test(t, held_tokens_stay);
    tcase_add_test(t, up_to_where_they_differ);
    tcase_add_test(t, not_in_the_middle_of_a_token);
    tcase_add_test(t, control_tokens_are_no_text);
    tcase_add_test(t, nothing_held);
    return SUITE_RUN("align", t);
}
