/* test_gbnf.c - grammars in GBNF against regular expressions that PCRE2 matches, which
 * say the same by hand: random walks through the grammar and what is made of them by a
 * changed byte are in both or in neither.  And what must be refused is refused in words.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "../../infer/session/gbnf.h"
#include "../../infer/session/matcher.h"
#include "../../infer/splitmix.h"
#include "../mask.h"
#include "suite.h"
#include "vocab_trie.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TEXT = 4000, END = 258 }; /* END: the token that ends a reply */

static uint64_t seed;
static q3n_matcher *matcher_of(const char *text, q3n_grammar **g)
{
    q3n_matcher *m;
    ggf_error err;
    ck_assert_msg(!q3n_gbnf_parse(g, text, strlen(text), &err), "%s\n%s", text,
                  err.message);
    ck_assert(!q3n_matcher_new(&m, *g, trie, NULL));
    return m;
}

static bool accepts(q3n_matcher *m, const char *text, size_t len)
{
    q3n_matcher_reset(m);
    return q3n_matcher_push(m, text, len) && q3n_matcher_done(m);
}

/* ==== Against PCRE2 ======================================================= */

static bool matches(pcre2_code *re, const char *text, size_t len)
{
    pcre2_match_data *m = pcre2_match_data_create_from_pattern(re, NULL);
    const int r = pcre2_match(re, (PCRE2_SPTR)text, len, 0, 0, m, NULL);
    pcre2_match_data_free(m);
    return r >= 0;
}

/* The same in both.  Expressions are anchored and of UTF-8 (what is none matches
 * nothing), and '.' is any character. */
static const struct {
    const char *grammar, *expression;
} pairs[] = {
    { "root ::= \"yes\" | \"no\"", "yes|no" },
    { "root ::= \"\"", "" },
    { "# a comment\nroot  ::= # another\n  \"a\"+ |\n  \"b\"? \"c\"   # \"d\"\n\n",
      "a+|b?c" },
    { "root ::= [a-c]{2} [^\"\\\\\\n]{0,2} \"\\x41\\u00df\\U0001F600\\t\\\"\\]\"",
      "[a-c]{2}[^\"\\\\\\n]{0,2}A\xc3\x9f\xf0\x9f\x98\x80\\t\"\\]" },
    { "root ::= .\"x\".{2,}", ".x.{2,}" },
    { "root ::= [-a] [a-] [\\[\\]] [\xc3\xa4-\xc3\xbc\xe2\x82\xac]",
      "[-a][a-][\\[\\]][\xc3\xa4-\xc3\xbc\xe2\x82\xac]" },
    { "root ::= (\"ab\" | \"a\" (\n\"c\"\n|\n\"d\" \"e\" )* )  {1, 3} \"!\"",
      "(?:ab|a(?:c|de)*){1,3}!" },
    { "root ::= item (\", \" item)*\nitem ::= [0-9]+ (\".\" [0-9]{1,2})? | sub-1\n"
      "sub-1 ::= \"(\" root \")\"",
      "(?<r>(?<i>\\d+(?:\\.\\d{1,2})?|\\((?&r)\\))(?:, (?&i))*)" },
    { "root ::= \"a\" root \"b\" | \"\"", "(?<r>a(?&r)b|)" },
    /* what begins must be ended in the same way */
    { "root ::= pal \".\"\npal ::= \"a\" pal \"a\" | \"b\" pal \"b\" | \"]\" [ab]?",
      "(?<p>a(?&p)a|b(?&p)b|\\][ab]?)\\." },
    /* a repetition of what may be empty, before and behind */
    { "root ::= (x? y*)* x\nx ::= \"x\"\ny ::= \"y\" | \"z\" \"\"", "[xyz]*x" },
    /* begins with a rule that may be empty, then with itself is no way back */
    { "root ::= ws \"[\" (root (\",\" root)*)? ws \"]\"\nws ::= [ \\n]{0,2}",
      "(?<r>[ \\n]{0,2}\\[(?:(?&r)(?:,(?&r))*)?[ \\n]{0,2}\\])" },
};
enum { N_PAIRS = sizeof pairs / sizeof *pairs };

/* A token that the mask allows, any of them, or one that comes nearer to the end; -1 if
 * only the end may come. */
static int32_t choose(const uint32_t *mask, bool closing)
{
    static const char ends[] = ".!]xb)";
    for (const char *c = ends; closing && *c; c++)
        if (has_bit(mask, (uint8_t)*c)) return (uint8_t)*c;
    for (uint32_t n = 0, id = splitmix_below(&seed, 261); n < 261;
         n++, id = (id + 1) % 261)
        if (id != END && has_bit(mask, id)) return (int32_t)id;
    return -1;
}

static size_t walk(q3n_matcher *m, char *text, size_t open_for)
{
    size_t len = 0;
    q3n_matcher_reset(m);
    for (;;) {
        const uint32_t *mask = q3n_matcher_mask(m);
        ck_assert_ptr_nonnull(mask);
        ck_assert_int_eq(has_bit(mask, END), q3n_matcher_done(m));
        if (q3n_matcher_done(m) && (len >= open_for || !splitmix_below(&seed, 6))) break;
        const int32_t id = choose(mask, len >= open_for);
        if (id < 0) break;
        const struct ggf_str token = q3n_token_text(tokenizer, id);
        ck_assert(len + token.len <= MOST_TEXT);
        ck_assert(q3n_matcher_push(m, token.data, token.len));
        memcpy(text + len, token.data, token.len);
        len += token.len;
    }
    ck_assert(q3n_matcher_done(m));
    return len;
}

/* Change, insert or remove a byte. */
static size_t damage(char *text, size_t len)
{
    static const char bytes[] = "abcxyz01(),.[] \n!\"\\\xc3\x84";
    const char c = bytes[splitmix_below(&seed, sizeof bytes - 1)];
    const size_t at = splitmix_below(&seed, (uint32_t)len + 1);
    switch (splitmix_below(&seed, 3)) {
    case 0: memmove(text + at + 1, text + at, len - at), len++; break;
    case 1:
        if (at == len) return len;
        memmove(text + at, text + at + 1, len - at - 1);
        return len - 1;
    default: len += at == len; break;
    }
    text[at] = c;
    return len;
}

START_TEST(like_pcre2)
{
    char text[MOST_TEXT + 8], pattern[400];
    int error, n_other = 0;
    PCRE2_SIZE at;
    q3n_grammar *g;
    seed = 7 + (uint64_t)_i;
    make_trie();
    snprintf(pattern, sizeof pattern, "\\A(?:%s)\\z", pairs[_i].expression);
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_DOTALL, &error, &at, NULL);
    ck_assert_ptr_nonnull(re);
    q3n_matcher *m = matcher_of(pairs[_i].grammar, &g);
    for (int i = 0; i < 300; i++) {
        size_t len = walk(m, text, splitmix_below(&seed, 30));
        ck_assert_msg(matches(re, text, len), "%s\n%.*s", pattern, (int)len, text);
        for (int k = 0; k < 3; k++) {
            len = damage(text, len);
            const bool in = matches(re, text, len);
            ck_assert_msg(accepts(m, text, len) == in, "%s\n%.*s is %d", pattern,
                          (int)len, text, in);
            n_other += !in;
        }
    }
    ck_assert_int_gt(n_other, 100);
    pcre2_code_free(re);
    q3n_matcher_free(m);
    q3n_grammar_free(g);
    free_trie();
}
END_TEST

/* ==== What is refused ===================================================== */

static const struct {
    const char *grammar, *word;
} wrong[] = {
    { "", "no rule root" },
    { "a ::= \"b\"", "no rule root" },
    { "root ::= a", "line 1: there is no rule 'a'" },
    { "root ::= \"a\"\n\nroot ::= \"b\"", "line 3: a second rule of the name 'root'" },
    { "root \"a\"", "'::=' expected" },
    { "root ::= \"a", "'\"' is missing" },
    { "root ::= \"\\q\"", "escape" },
    { "root ::= \"\\x4\"", "hexadecimal" },
    { "root ::= \"\\", "escape" },
    { "root ::= \"\\uD83D\"", "no character" },
    { "root ::= \"\\U00110000\"", "no character" },
    { "root ::= \"\xff\"", "no UTF-8" },
    { "root ::= [a", "']' is missing" },
    { "root ::= [a-", "']' is missing" },
    { "root ::= [z-a]", "a range from high to low" },
    { "root ::= []", "empty class" },
    { "root ::= (\"a\"", "')' expected" },
    { "root ::= \"a\")", "not expected: ')'" },
    { "root ::= *", "not expected: '*'" },
    { "root ::= \"a\"**", "a repetition of a repetition" },
    { "root ::= \"a\"{}", "number" },
    { "root ::= \"a\"{2", "'}' expected" },
    { "root ::= \"a\"{3,2}", "less repetitions" },
    { "root ::= \"a\"{99999}", "too many repetitions" },
    { "root ::= (((\"a\"{9999}){9999}){9999}){9999}", "more than fits" },
    { "root ::= <think> \"a\"", "tokens are not supported: '<think>" },
    { "root ::= \"a\"\n| \"b\"", "line 2: the name of a rule expected" },
    { "root_1 ::= \"a\"", "'::=' expected" },
    { "root ::= \"a\" root", "no text can satisfy" },
    { "root ::= root \"a\" | \"b\"", "'root'" },
    { "root ::= b \"a\"\nb ::= c?  d\nc ::= \"c\"\nd ::= \"\" c* b | \"d\"",
      "a rule that begins by calling itself" },
};

START_TEST(refused)
{
    q3n_grammar *g;
    ggf_error err = { 0 };
    const char *text = wrong[_i].grammar;
    ck_assert_int_eq(q3n_gbnf_parse(&g, text, strlen(text), &err), GGF_E_ARG);
    ck_assert_ptr_null(g);
    ck_assert_msg(strstr(err.message, wrong[_i].word), "%s: %s", text, err.message);
}
END_TEST

START_TEST(limits)
{
    q3n_grammar *g;
    ggf_error err;
    char *text = malloc(1 << 20);
    /* groups in groups */
    memset(text, '(', 1 << 19);
    memcpy(text, "root ::= ", 9);
    ck_assert(q3n_gbnf_parse(&g, text, 1 << 19, &err) == GGF_E_ARG);
    ck_assert_msg(strstr(err.message, "groups in groups"), "%s", err.message);
    /* characters */
    memset(text + 9, 'x', 1 << 19);
    text[9] = text[1 << 19] = '"';
    ck_assert(q3n_gbnf_parse(&g, text, (1 << 19) + 1, &err) == GGF_E_ARG);
    ck_assert_msg(strstr(err.message, "too long"), "%s", err.message);
    /* rules, each of which may be empty and begins with the next; the last with the first
     */
    for (int circle = 0; circle < 2; circle++) {
        size_t len = (size_t)sprintf(text, "root ::= a4000\n");
        for (int i = 4000; i > 0; i--)
            len += (size_t)sprintf(text + len, "a%d ::= (\"x\" | a%d)?\n", i, i - 1);
        len +=
            (size_t)sprintf(text + len, "a0 ::= \"y\" | %s\n", circle ? "a7" : "\"z\"");
        const int r = q3n_gbnf_parse(&g, text, len, &err);
        ck_assert_int_eq(r, circle ? GGF_E_ARG : 0);
        q3n_grammar_free(g);
    }
    ck_assert_msg(strstr(err.message, "calling itself"), "%s", err.message);
    free(text);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("gbnf");
    tcase_add_loop_test(t, like_pcre2, 0, N_PAIRS);
    tcase_add_loop_test(t, refused, 0, (int)(sizeof wrong / sizeof *wrong));
    tcase_add_test(t, limits);
    return SUITE_RUN("gbnf", t);
}
