/* test_digest.c - the digests of gguf-hash against published and independent ones. */
#include "../../tools/common/digest.h"
#include "suite.h"

static void expect(enum digest_kind kind, const char *message, const char *text)
{
    char got[DIGEST_TEXT];
    struct digest *d = digest_new(kind);
    for (int again = 0; again < 2; again++) { /* a finished digest starts anew */
        for (const char *p = message; *p; p++) digest_update(d, p, 1);
        digest_final(d, got);
        ck_assert_str_eq(got, text);
    }
    digest_free(d);
}

START_TEST(known)
{
    expect(DIGEST_XXH64, "", "ef46db3751d8e999");
    expect(DIGEST_XXH64, "abc", "44bc2cf5ad770999");
    expect(DIGEST_SHA1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d");
    expect(DIGEST_SHA256, "abc",
           "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    /* python: uuid.uuid5(uuid.UUID('ef001206-dadc-5f6d-a15f-3359e577d4e5'), 'abc') */
    expect(DIGEST_UUID, "abc", "9f2200fc-45e8-5a39-9535-c3ea5c0e0cef");
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("digest");
    tcase_add_test(t, known);
    return SUITE_RUN("digest", t);
}
