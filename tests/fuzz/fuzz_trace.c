/* fuzz_trace.c - any bytes as a trace or history of experts: read, or refused in words;
 * and what is accepted can be replayed.  The length in the header is made right first. */
#include "../../infer/experts/replay.h"
#include "../../infer/experts/trace_file.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void mend_length(uint8_t *p, size_t len)
{
    uint32_t layers;
    if (len < TRACE_HEADER) return;
    memcpy(&layers, p + TRACE_AT_LAYERS, sizeof layers);
    const uint64_t start = TRACE_HEADER + UINT64_C(8) * layers;
    const uint64_t data = len > start ? len - start : 0;
    memcpy(p + TRACE_AT_DATA_BYTES, &data, sizeof data);
}

static void replay(struct trace *t)
{
    const struct trace_model *m = trace_model(t);
    struct replay_log log;
    if ((uint64_t)m->n_layer * m->n_expert > 1 << 20 || replay_log_new(&log, &t, 1, NULL))
        return;
    for (int p = 0; p < REPLAY_POLICIES; p++) {
        struct replay_result r;
        const struct replay_options o = { .policy = p, .bytes = replay_least(m) };
        if (p == REPLAY_STATIC || replay_run(&log, &o, &r, NULL)) continue;
        if (r.hits[0] + r.hits[1] + r.misses[0] + r.misses[1] != log.n_items) abort();
    }
    replay_log_free(&log);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct trace *t;
    ggf_error err = { 0 };
    uint8_t *copy = malloc(len + 1);
    if (!copy) return 0;
    if (len) memcpy(copy, bytes, len);
    mend_length(copy, len);
    const int e = trace_open_buffer(&t, copy, len, "file", &err);
    free(copy);
    if (e) {
        if (t || !*err.message) abort();
        return 0;
    }
    replay(t);
    trace_close(t);
    return 0;
}
