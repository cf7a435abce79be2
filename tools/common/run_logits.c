/* run_logits.c - tokens from a file, and the logits behind each of them; see run.h. */
#include "../../infer/now.h"
#include "run.h"

#include <stdlib.h>

int run_read_tokens(struct run *run, ggf_error *err)
{
    const char *path = run->o->tokens;
    struct input in = { 0 };
    size_t n = 0;
    int r = input_read(&in, path, err);
    if (!r) r = input_ids(&run->ids, &n, in.bytes, path, err);
    if (!r && (!n || n > INT32_MAX))
        r = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s holds %zu token ids", path, n);
    run->n_ids = (uint32_t)n;
    free(in.bytes);
    return r;
}

/* An ubatch in each call, so that the logits of no more are in memory. */
static int write_rows(struct run *run, uint32_t batch, ggf_output *out, ggf_error *err)
{
    const uint32_t n_vocab = q3n_model_info(run->model)->n_vocab, n = run->n_ids;
    const uint64_t row_bytes = (uint64_t)n_vocab * sizeof(float);
    float *rows = malloc(batch * row_bytes);
    if (!rows)
        return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory for logits");
    const double start = seconds_now();
    int r = 0;
    for (uint32_t done = 0; done < n && !r;) {
        const uint32_t k = n - done < batch ? n - done : batch;
        r = q3n_session_eval(run->g.session, run->ids + done, k, 0, rows, err);
        if (!r) r = ggf_output_write(out, done * row_bytes, rows, k * row_bytes, err);
        if (!r && *run->stop) r = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "interrupted");
        done += k;
    }
    run->g.n_prompt = n;
    run->g.prompt_seconds = seconds_now() - start;
    free(rows);
    return r;
}

int run_logits(struct run *run, uint32_t n, ggf_error *err)
{
    ggf_output *out = NULL;
    int r = ggf_output_create(&out, run->o->logits, run->o->force, err);
    if (!r) r = write_rows(run, n, out, err);
    if (!r) r = ggf_output_commit(out, err);
    else ggf_output_discard(out);
    return r;
}
