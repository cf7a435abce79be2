/* fuzz_probe.c - files of gguf-quant --probe-in. */
#include "../../tools/common/probe_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ggf_tensor tensor = { .type = GGF_BF16 };
    struct plan_item items[2] = { { .source = &tensor, .name = "output.weight" },
                                  { .source = &tensor, .name = "blk.0.attn_q.weight" } };
    struct error_entry entries[2] = { { .tensor = &tensor }, { .tensor = &tensor } };
    const struct plan plan = { .items = items, .n_items = 2, .n_elements = 512 };
    struct error_table table = { entries, 2 };
    struct predict predict = { 0 };
    struct probe_result result;
    ggf_error err;
    char *text = malloc(size + 1);
    if (!text) return 0;
    if (size) memcpy(text, data, size);
    text[size] = 0;
    if (!probe_file_parse(text, size, "file", &predict, &result, &table, &plan, &err)) {
        const struct prediction k = predict_kld(&predict, 0.01, 0);
        if (isnan(k.kld) || k.kld < 0) abort();
    }
    for (int i = 0; i < 2; i++)
        if (!(entries[i].weight >= 0)) abort();
    free(text);
    return 0;
}
