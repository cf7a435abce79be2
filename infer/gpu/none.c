/* none.c - in place of the .cu files where there is no nvcc: no device is ever found, so
 * what takes one is never called and has nothing to do. */
#include "gpu.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"
/* NOLINTBEGIN(misc-unused-parameters) */

static int none(ggf_error *err)
{
    return ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                    "this program was built without CUDA");
}

int gpu_count(ggf_error *err)
{
    none(err);
    return 0;
}

int gpu_open(gpu **out, int index, ggf_error *err)
{
    *out = NULL;
    return none(err);
}

void gpu_close(gpu *g) {}
const struct gpu_info *gpu_describe(const gpu *g) { return NULL; }
uint64_t gpu_bytes_free(gpu *g) { return 0; }

int gpu_alloc(gpu *g, void **out_d, uint64_t bytes, ggf_error *err) { return none(err); }
void gpu_free(gpu *g, void *p_d) {}
int gpu_host_alloc(gpu *g, void **out, void **out_d, uint64_t bytes, ggf_error *err)
{
    return none(err);
}
void gpu_host_free(gpu *g, void *p) {}
int gpu_host_pin(gpu *g, void *p, uint64_t bytes, ggf_error *err) { return none(err); }
void gpu_host_unpin(gpu *g, void *p) {}

void gpu_upload(gpu *g, void *to_d, const void *from, uint64_t bytes) {}
void gpu_download(gpu *g, void *to, const void *from_d, uint64_t bytes) {}
void gpu_upload_rows(gpu *g, void *to_d, size_t to_stride, const void *from,
                     size_t from_stride, size_t bytes, size_t rows)
{
}
void gpu_download_rows(gpu *g, void *to, size_t to_stride, const void *from_d,
                       size_t from_stride, size_t bytes, size_t rows)
{
}
void gpu_zero(gpu *g, void *to_d, uint64_t bytes) {}
int gpu_sync(gpu *g, ggf_error *err) { return none(err); }

void gpu_copy(gpu *g, void *to_d, const void *from, uint64_t bytes) {}
void gpu_after_copies(gpu *g) {}
void gpu_copies_after(gpu *g) {}
int gpu_mark_new(gpu *g, gpu_mark **out, ggf_error *err)
{
    *out = NULL;
    return none(err);
}
void gpu_mark_free(gpu_mark *mark) {}
void gpu_mark_copies(gpu_mark *mark) {}
void gpu_mark_else(gpu_mark *mark) {}
void gpu_after(gpu_mark *mark) {}
void gpu_copies_after_mark(gpu_mark *mark) {}
bool gpu_mark_done(gpu_mark *mark) { return true; }
double gpu_mark_seconds(const gpu_mark *from, const gpu_mark *to) { return 0; }
int gpu_mark_wait(gpu_mark *mark, ggf_error *err) { return none(err); }

int gpu_graph_begin(gpu *g, ggf_error *err) { return none(err); }
int gpu_graph_end(gpu *g, gpu_graph **out, ggf_error *err) { return none(err); }
void gpu_graph_run(gpu *g, gpu_graph *graph) {}
void gpu_graph_free(gpu_graph *graph) {}

bool gpu_type(uint32_t type) { return false; }
uint64_t gpu_acts_bytes(uint32_t n, uint32_t tokens) { return 0; }
void gpu_encode(gpu *g, const struct gpu_acts *a) {}
void gpu_rows(gpu *g, const struct gpu_matrix *m, const int32_t *ids_d, uint32_t n_ids,
              float *y_d)
{
}
void gpu_linear(gpu *g, const struct gpu_linear *l, const struct gpu_acts *x, float *y_d,
                size_t y_stride)
{
}

void gpu_linear_norm(gpu *g, const struct gpu_linear *l, const struct gpu_acts *acts,
                     float *y_d, float *x_d, const struct gpu_norm_to *to)
{
}
void gpu_linear_route(gpu *g, const struct gpu_linear *l, const struct gpu_acts *acts,
                      float *y_d, uint32_t n_used, uint32_t *ids_d, float *weights_d)
{
}
void gpu_norm(gpu *g, float *x_d, const float *add_d, uint32_t n, uint32_t tokens,
              const struct gpu_norm_to *to)
{
}
uint64_t gpu_attention_scratch(const struct gpu_attention *a, uint32_t tokens)
{
    return 0;
}
void gpu_attend(gpu *g, const struct gpu_attention *a, const struct gpu_kv *kv,
                const uint32_t *pos_d, uint32_t tokens, float *projected_d, size_t width,
                void *scratch_d, float *out_d, void *q_d)
{
}
uint64_t gpu_delta_scratch(const struct gpu_delta *d, uint32_t tokens) { return 0; }
void gpu_delta_rule(gpu *g, const struct gpu_delta *d, const struct gpu_delta_state *s,
                    uint32_t tokens, const float *projected_d, size_t width,
                    void *scratch_d, float *out_d, void *q_d)
{
}
void gpu_route(gpu *g, const float *logits_d, uint32_t n_expert, uint32_t n_used,
               uint32_t tokens, uint32_t *ids_d, float *weights_d)
{
}
void gpu_tell(gpu *g, const struct gpu_words *what, uint32_t n) {}
uint64_t gpu_moe_scratch(const struct gpu_moe *m, uint32_t tokens) { return 0; }
void gpu_moe_sort(gpu *g, const struct gpu_moe *m, const uint32_t *ids_d, uint32_t tokens,
                  void *scratch_d)
{
}
void gpu_moe_products(gpu *g, const struct gpu_moe *m, const struct gpu_acts *acts,
                      const uint32_t *ids_d, uint32_t first, uint32_t end,
                      void *scratch_d)
{
}
void gpu_moe_sum(gpu *g, const struct gpu_moe *m, uint32_t tokens, const float *weights_d,
                 const struct gpu_moe_given *given, void *scratch_d, float *x_d,
                 const struct gpu_norm_to *next)
{
}
void gpu_experts(gpu *g, const struct gpu_moe *m, const struct gpu_acts *acts,
                 const uint32_t *ids_d, const float *weights_d, void *scratch_d,
                 float *x_d, const struct gpu_norm_to *next)
{
}
void gpu_read_all(gpu *g, const void *from_d, uint64_t bytes, uint32_t *sink_d) {}
double gpu_multiply(gpu *g, uint32_t bits, uint32_t steps, uint32_t *sink_d) { return 0; }
/* NOLINTEND(misc-unused-parameters) */
