/* fuzz_request - bodies of requests: a byte that says which kind, then the JSON. */
#include "../../infer/serve/request.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was taken can be used as it is. */
static void check(const struct request *r, bool chat)
{
    if (q3n_sample_check(&r->sample, NULL)) abort();
    if (r->limit < -1 || r->slot < -1 || r->n_logprobs > Q3N_MAX_LOGPROBS) abort();
    for (size_t i = 0; i < r->n_stops; i++)
        if (!*r->stops[i]) abort();
    for (size_t i = 0; i < r->sample.n_bias; i++)
        if (r->sample.bias[i].id < 0) abort();
    if (chat ? !json_array_size(r->messages) : !r->prompt) abort();
    if ((r->schema && !r->json) || (r->grammar && r->json)) abort();
    if (r->template_args && !json_is_object(r->template_args)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct request_defaults defaults = { .sample = q3n_sample_defaults(),
                                               .n_predict = -1 };
    struct request r;
    if (!size) return 0;
    const bool chat = data[0] & 1;
    if (!request_parse(&r, (const char *)data + 1, size - 1, chat, &defaults, NULL))
        check(&r, chat);
    request_free(&r);
    return 0;
}
