/* fuzz_imatrix.c - any bytes as an importance matrix: what opens must be readable. */
#include "../../quant/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const char *const exclude[] = { "ffn_down" };
    imatrix *m = NULL;
    ggf_error err = { 0 };
    float w[64];
    if (imatrix_open_buffer(&m, bytes, len, &err)) return 0;
    imatrix_check(m, &err);
    imatrix_filter(m, NULL, 0, exclude, 1);
    for (uint64_t i = 0; i < imatrix_count(m); i++) {
        const struct imatrix_entry *e = imatrix_at(m, i);
        if (imatrix_find(m, e->name) != e) __builtin_trap();
        const uint64_t n = e->n_values < 64 ? e->n_values : 64;
        imatrix_weights(e, e->n_values - n, n, w);
    }
    const struct ggf_str *set = imatrix_dataset(m);
    volatile char sum = 0;
    for (uint64_t i = 0; set && i < set->len; i++) sum = (char)(sum ^ set->data[i]);
    imatrix_close(m);
    return 0;
}
