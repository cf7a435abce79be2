/* fuzz_kldbase.c - any bytes as a base file of either form: what parses must be readable,
 * to the last record. */
#include "../../tools/common/kldbase.h"
#include "../../tools/common/logprob.h"
#include "../../tools/common/windows.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static double read_record(const struct kld_base *b, size_t i, int32_t target,
                          const float *logits)
{
    if (b->form == KLD_LLAMA)
        return record_nll(kld_codes(b, i), target) +
               row_distance(logits, b->n_vocab, row_norm(logits, b->n_vocab),
                            kld_codes(b, i))
                   .kld;
    const float *row = kld_logits(b, i);
    return row_nll(row, row_norm(row, b->n_vocab), target) +
           row_distance_exact(logits, row, b->n_vocab).kld;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct kld_base b;
    ggf_error err = { 0 };
    volatile double sum = 0;
    if (kld_base_parse(&b, bytes, len, "input", &err)) return 0;
    float *logits = calloc(b.n_vocab, sizeof *logits);
    const uint32_t each = window_predictions(b.n_ctx), first = b.n_ctx / 2;
    for (uint32_t w = 0; w < b.n_windows && logits; w++)
        for (uint32_t i = 0; i < each; i++)
            sum =
                sum + read_record(&b, (size_t)w * each + i,
                                  b.tokens[(size_t)w * b.n_ctx + first + i + 1], logits);
    free(logits);
    return 0;
}
