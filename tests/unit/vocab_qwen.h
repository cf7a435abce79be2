/* vocab_qwen.h - the vocabulary of Qwen3. */
#ifndef TESTS_UNIT_VOCAB_QWEN_H
#define TESTS_UNIT_VOCAB_QWEN_H

#include "../../infer/text/tokenizer.h"
#include "files.h"

#include <zstd.h>

static inline q3n_tokenizer *load_qwen(void)
{
    size_t packed_len;
    char *packed = read_file("tests/data/tokenizer/qwen3-vocab.gguf.zst", &packed_len);
    const size_t len = ZSTD_getFrameContentSize(packed, packed_len);
    char *bytes = malloc(len);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(ZSTD_decompress(bytes, len, packed, packed_len), len);
    q3n_tokenizer *t;
    ggf_error err;
    ggf_file *file;
    must(ggf_open_buffer(&file, bytes, len, NULL, &err), &err);
    must(q3n_tokenizer_load(&t, file, &err), &err);
    ggf_close(file);
    free(bytes);
    free(packed);
    return t;
}

#endif
