/* test_tokenizer.c - ids equal to Hugging Face's on recorded cases, text back from ids,
 * special tokens, broken UTF-8, broken vocabularies.
 *
 * qwen3-cases.jsonl and more-cases.jsonl hold {"text", "ids"} made by Hugging Face's
 * tokenizers from the vocabulary beside them; the second file has random strings of all
 * scripts, marks in all orders, and pieces longer than a merge scan likes. */
#include "suite.h"
#include "vocab_image.h"
#include "vocab_qwen.h"

#include "../../tools/common/chatopt.h"

#include <jansson.h>

#define DATA "tests/data/tokenizer/"
enum { N_CASES = 400, N_MORE = 116 };

static q3n_tokenizer *qwen;
static json_t *cases[N_CASES], *more[N_MORE];

/* ==== Data ================================================================ */

static void load_cases(const char *path, json_t **out, int count)
{
    size_t len;
    char *text = read_file(path, &len), *line = text;
    for (int i = 0; i < count; i++) {
        char *end = strchr(line, '\n');
        ck_assert_ptr_nonnull(end);
        out[i] = json_loadb(line, (size_t)(end - line), JSON_ALLOW_NUL, NULL);
        ck_assert_ptr_nonnull(out[i]);
        line = end + 1;
    }
    ck_assert_msg(!*line, "%s has more lines than are tested", path);
    free(text);
}

static void setup(void)
{
    qwen = load_qwen();
    load_cases(DATA "qwen3-cases.jsonl", cases, N_CASES);
    load_cases(DATA "more-cases.jsonl", more, N_MORE);
}

static void teardown(void)
{
    for (int i = 0; i < N_CASES; i++) json_decref(cases[i]);
    for (int i = 0; i < N_MORE; i++) json_decref(more[i]);
    q3n_tokenizer_free(qwen);
}

/* ==== Encoding and decoding =============================================== */

static struct q3n_ids encode(const q3n_tokenizer *t, const char *text, size_t len,
                             bool special)
{
    struct q3n_ids ids = { 0 };
    ggf_error err;
    ck_assert_msg(!q3n_encode(t, text, len, special, &ids, &err), "%s", err.message);
    return ids;
}

/* The bytes of all ids one after the other; the caller frees them. */
static char *decode(const q3n_tokenizer *t, const struct q3n_ids *ids, size_t *len)
{
    *len = 0;
    for (size_t i = 0; i < ids->n; i++) *len += q3n_token_text(t, ids->ids[i]).len;
    char *text = malloc(*len + 1), *p = text;
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < ids->n; i++) {
        const struct ggf_str s = q3n_token_text(t, ids->ids[i]);
        memcpy(p, s.data, s.len);
        p += s.len;
    }
    *p = 0;
    return text;
}

static void check_case(const json_t *c)
{
    const json_t *text = json_object_get(c, "text"), *want = json_object_get(c, "ids");
    struct q3n_ids ids =
        encode(qwen, json_string_value(text), json_string_length(text), true);
    ck_assert_uint_eq(ids.n, json_array_size(want));
    for (size_t i = 0; i < ids.n; i++)
        ck_assert_msg(ids.ids[i] == json_integer_value(json_array_get(want, i)),
                      "id %zu of '%s' is %d", i, json_string_value(text), ids.ids[i]);
    q3n_ids_free(&ids);
}

START_TEST(recorded_case) { check_case(cases[_i]); }
END_TEST

START_TEST(recorded_case_of_any_script) { check_case(more[_i]); }
END_TEST

static void check_round_trip(const char *text, size_t len)
{
    struct q3n_ids ids = encode(qwen, text, len, true);
    size_t back_len;
    char *back = decode(qwen, &ids, &back_len);
    ck_assert_uint_eq(back_len, len);
    ck_assert(!memcmp(back, text, len));
    free(back);
    q3n_ids_free(&ids);
}

START_TEST(held_out_text_comes_back)
{
    size_t len;
    char *text = read_file("samples/text/held-out.txt", &len);
    ck_assert_uint_gt(len, 700000);
    check_round_trip(text, len);
    free(text);
}
END_TEST

/* Bytes that are no UTF-8 keep their value; those of one class with a mark join it. */
START_TEST(broken_utf8_comes_back)
{
    static const char *const texts[] = {
        "\xff",
        "a\200b",
        "\xc3",
        "\xe2\x82",
        "\xf0\x9f\x98",
        "\xc0\xaf",
        "\xed\xa0\x80",
        "\xf4\x90\x80\x80",
        "x\xcc\x81\xff\xcc\x81",
        "\xff\xfe\xfd \xfc\n",
        "\xe2\x82 \xac",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check_round_trip(texts[i], strlen(texts[i]));
    char all[256];
    for (int i = 0; i < 256; i++) all[i] = (char)(255 - i);
    check_round_trip(all, sizeof all);
}
END_TEST

/* A megabyte without a space must not take quadratic time (the test's time limit). */
START_TEST(long_piece)
{
    const size_t len = 1 << 20;
    char *text = malloc(len);
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < len; i++) text[i] = (char)('a' + (i * i + i / 7) % 26);
    check_round_trip(text, len);
    /* Marks in falling order: sorting them by insertion would be quadratic, too. */
    for (size_t i = 0; i + 4 <= len; i += 4) memcpy(text + i, "\xcc\x81\xcc\xa3", 4);
    struct q3n_ids ids = encode(qwen, text, len, false);
    size_t back_len;
    char *back = decode(qwen, &ids, &back_len);
    ck_assert_uint_eq(back_len, len);
    ck_assert(!memcmp(back, "\xcc\xa3\xcc\xa3", 4));
    ck_assert(!memcmp(back + len - 4, "\xcc\x81\xcc\x81", 4));
    free(back);
    q3n_ids_free(&ids);
    free(text);
}
END_TEST

/* ==== Special tokens ====================================================== */

START_TEST(special_only_where_allowed)
{
    static const char text[] = "<|im_end|><think>";
    struct q3n_ids with = encode(qwen, text, strlen(text), true);
    ck_assert_uint_eq(with.n, 2);
    ck_assert_int_eq(with.ids[0], 151645);
    ck_assert_int_eq(with.ids[1], 151667);
    struct q3n_ids without = encode(qwen, text, strlen(text), false);
    ck_assert_uint_gt(without.n, 2);
    for (size_t i = 0; i < without.n; i++)
        ck_assert(!q3n_token_is_control(qwen, without.ids[i]));
    ck_assert_int_eq(without.ids[without.n - 1], 151667);
    q3n_ids_free(&with);
    q3n_ids_free(&without);
}
END_TEST

START_TEST(ends_of_generation)
{
    static const int32_t ends[] = { 151643, 151645, 151662, 151663, 151664 };
    int n = 0;
    for (int32_t id = -1; id < 152000; id++) n += q3n_token_is_eog(qwen, id);
    ck_assert_int_eq(n, 5);
    for (int i = 0; i < 5; i++) ck_assert(q3n_token_is_eog(qwen, ends[i]));
    ck_assert_int_eq(q3n_tokenizer_bos(qwen), -1);
    ck_assert_int_eq(q3n_token_find(qwen, "<|im_start|>"), 151644);
    ck_assert_int_eq(q3n_token_find(qwen, "<|im_start"), -1);
    ck_assert_int_eq(q3n_token_find(qwen, ""), -1);
    ck_assert_uint_eq(q3n_tokenizer_count(qwen), 151936);
}
END_TEST

START_TEST(text_of_any_id)
{
    static const int32_t none[] = { -1, INT32_MIN, 151936, INT32_MAX, 151935 };
    for (int i = 0; i < 5; i++) ck_assert_uint_eq(q3n_token_text(qwen, none[i]).len, 0);
    ck_assert_uint_eq(q3n_token_text(qwen, 151645).len, strlen("<|im_end|>"));
}
END_TEST

/* ==== Conversations ======================================================= */

START_TEST(no_marks_to_chat_with)
{
    const struct vocab_fault x = { .name = "no im_start" };
    ggf_error err;
    q3n_tokenizer *t;
    struct chat c;
    const struct chat_options o = { .no_jinja = true };
    ck_assert_msg(!load_vocab_image(&t, &x, &err), "%s", err.message);
    ck_assert_int_eq(chat_open(&c, &o, NULL, t, &err), GGF_E_NOT_FOUND);
    chat_close(&c);
    q3n_tokenizer_free(t);
}
END_TEST

/* ==== Streams ============================================================= */

/* Push a text in pieces of `step` bytes; every output must end with a whole character. */
static void check_stream(const char *text, size_t len, size_t step, const char *want)
{
    struct q3n_stream s = { 0 };
    char out[4096];
    size_t n = 0;
    for (size_t i = 0; i < len; i += step) {
        char part[64];
        const size_t k = len - i < step ? len - i : step;
        const size_t got = q3n_stream_push(&s, text + i, k, part);
        ck_assert_uint_le(got, 3 * (k + 4));
        json_t *whole = json_stringn(part, got); /* refuses ill-formed UTF-8 */
        ck_assert_msg(whole != NULL, "piece at %zu is cut", i);
        json_decref(whole);
        memcpy(out + n, part, got);
        n += got;
    }
    n += q3n_stream_end(&s, out + n);
    out[n] = 0;
    ck_assert_str_eq(out, want);
}

START_TEST(stream_gives_whole_characters)
{
    static const struct {
        const char *in, *out;
    } t[] = {
        { "a\u00e9\u20ac\U0001f600z", "a\u00e9\u20ac\U0001f600z" },
        { "\xff"
          "a",
          "\ufffd"
          "a" },
        { "a\xe2\x82", "a\ufffd" },
        { "\xf0\x9f\x98", "\ufffd" },
        { "\xe2\x82"
          "A\xf0\x9f"
          "B",
          "\ufffd"
          "A\ufffd"
          "B" },
        { "\xed\xa0\x80", "\ufffd\ufffd\ufffd" },
        { "\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd" },
        { "\xf0\x80\x80\x41", "\ufffd\ufffd\ufffd"
                              "A" },
        { "\xc2\xc2\xa0", "\ufffd\u00a0" },
        { "\xe0\x80\xaf\xf0\x9f\x98\x80", "\ufffd\ufffd\ufffd\U0001f600" },
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        for (size_t step = 1; step < 6; step++)
            check_stream(t[i].in, strlen(t[i].in), step, t[i].out);
}
END_TEST

/* ==== Vocabularies made by hand =========================================== */

static const struct vocab_fault faults[] = {
    { .name = "good" },
    { .name = "no types", .n_types = -1 },
    { .name = "no model", .model = "", .says = "tokenizer.ggml.model" },
    { .name = "other model", .model = "llama", .says = "'llama'; only 'gpt2'" },
    { .name = "no pre", .pre = "", .says = "tokenizer.ggml.pre" },
    { .name = "other pre", .pre = "llama-bpe", .says = "'llama-bpe'; only 'qwen2'" },
    { .name = "no tokens", .no_tokens = true, .says = "no key tokenizer.ggml.tokens" },
    { .name = "empty tokens", .empty_tokens = true, .says = "no token for byte 0x00" },
    { .name = "numbers as tokens",
      .tokens_u32 = true,
      .says = "not an array of strings" },
    { .name = "token missing", .no_byte_0 = true, .says = "no token for byte 0x00" },
    { .name = "same token twice", .token_257 = "ab", .says = "tokens 256 and 257" },
    { .name = "byte token twice", .token_257 = "a", .says = "are the same" },
    { .name = "empty token", .token_257 = "", .says = "merge 1" },
    { .name = "special twice", .token_259 = "<|im_end|>", .says = "258 and 259" },
    { .name = "empty special", .token_259 = "" }, /* never recognised, no harm */
    { .name = "few types", .n_types = 260, .says = "not an array of 261 numbers" },
    { .name = "many types", .n_types = 262, .says = "not an array of 261 numbers" },
    { .name = "type 7", .type_257 = 7, .says = "token 257 has type 7" },
    { .name = "type -1", .type_257 = -1, .says = "token 257 has type -1" },
    { .name = "no merges", .no_merges = true, .says = "no key tokenizer.ggml.merges" },
    { .name = "numbers as merges",
      .merges_u32 = true,
      .says = "not an array of strings" },
    { .name = "merge of one", .merges = { "ab" }, .says = "merge 0" },
    { .name = "empty merge", .merges = { "" }, .says = "merge 0" },
    { .name = "merge of nothing", .merges = { "a " }, .says = "merge 0" },
    { .name = "merge of unknown", .merges = { "ax b" }, .says = "merge 0" },
    { .name = "merge into unknown", .merges = { "a c" }, .says = "merge 0" },
    { .name = "merge of three", .merges = { "a b c" }, .says = "merge 0" },
    { .name = "merge of a control", .merges = { "<|im_end|> a" }, .says = "merge 0" },
    { .name = "merge outside the alphabet",
      .merges = { "a\u4f60 b" },
      .says = "merge 0" },
    { .name = "merge twice", .merges = { "a b", "a b" } },
    { .name = "eos too large", .eos = 261, .says = "eos_token_id is 261" },
    { .name = "eos far too large", .eos = -2, .says = "eos_token_id is 4294967294" },
    { .name = "bos too large", .bos = 300, .says = "bos_token_id is 300" },
};
enum { N_FAULTS = sizeof faults / sizeof *faults };

START_TEST(vocabulary_with_a_fault)
{
    const struct vocab_fault *x = &faults[_i];
    ggf_error err = { 0 };
    q3n_tokenizer *t = NULL;
    const int r = load_vocab_image(&t, x, &err);
    ck_assert_msg(!r == !x->says, "%s: %d %s", x->name, r, err.message);
    if (x->says)
        ck_assert_msg(strstr(err.message, x->says) != NULL, "%s: '%s'", x->name,
                      err.message);
    q3n_tokenizer_free(t);
}
END_TEST

START_TEST(small_vocabulary)
{
    const struct vocab_fault x = { .name = "bos", .bos = 97, .add_bos = true };
    ggf_error err;
    q3n_tokenizer *t;
    ck_assert_msg(!load_vocab_image(&t, &x, &err), "%s", err.message);
    ck_assert_int_eq(q3n_tokenizer_bos(t), 97);
    ck_assert(q3n_token_is_eog(t, 258));
    struct q3n_ids ids = encode(t, "abcabb <think>[PAD]", 19, true);
    static const int32_t want[] = { 257, 256, 'b', ' ', 259, '[', 'P', 'A', 'D', ']' };
    ck_assert_uint_eq(ids.n, sizeof want / sizeof *want);
    ck_assert_mem_eq(ids.ids, want, sizeof want);
    q3n_ids_free(&ids);
    q3n_tokenizer_free(t);
}
END_TEST

int main(void)
{
    TCase *qwen3_case = tcase_create("qwen3");
    tcase_add_unchecked_fixture(qwen3_case, setup, teardown);
    tcase_set_timeout(qwen3_case, 120); /* a quadratic step would take hours */
    tcase_add_loop_test(qwen3_case, recorded_case, 0, N_CASES);
    tcase_add_loop_test(qwen3_case, recorded_case_of_any_script, 0, N_MORE);
    tcase_add_test(qwen3_case, held_out_text_comes_back);
    tcase_add_test(qwen3_case, broken_utf8_comes_back);
    tcase_add_test(qwen3_case, long_piece);
    tcase_add_test(qwen3_case, special_only_where_allowed);
    tcase_add_test(qwen3_case, ends_of_generation);
    tcase_add_test(qwen3_case, text_of_any_id);
    tcase_add_test(qwen3_case, stream_gives_whole_characters);
    TCase *by_hand_case = tcase_create("by hand");
    tcase_add_loop_test(by_hand_case, vocabulary_with_a_fault, 0, N_FAULTS);
    tcase_add_test(by_hand_case, small_vocabulary);
    tcase_add_test(by_hand_case, no_marks_to_chat_with);
    return SUITE_RUN("tokenizer", qwen3_case, by_hand_case);
}
