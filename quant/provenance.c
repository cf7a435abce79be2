/* provenance.c - see provenance.h. */
#include "provenance.h"

#include <string.h>

#define PREFIX "quantize.q3n."

bool provenance_is_key(const char *key)
{
    return !strncmp(key, PREFIX, sizeof PREFIX - 1);
}

static int set_f64(ggf_writer *w, const char *key, double v, ggf_error *err)
{
    const struct ggf_kv kv = { .key = key,
                               .type = GGF_KV_F64,
                               .elem_type = GGF_KV_F64,
                               .count = 1,
                               .data = (const uint8_t *)&v,
                               .bytes = sizeof v };
    return ggf_writer_set_kv(w, &kv, err);
}

static int write_target(ggf_writer *w, const struct provenance *p, ggf_error *err)
{
    int s = p->target_bytes
                ? ggf_writer_set_u64(w, PREFIX "target_bytes", p->target_bytes, err)
                : ggf_writer_set_f32(w, PREFIX "target_bpw", p->target_bpw, err);
    if (!s) s = ggf_writer_set_str(w, PREFIX "types", p->types, err);
    if (!s) s = set_f64(w, PREFIX "predicted_error", p->predicted_error, err);
    if (!s) s = set_f64(w, PREFIX "dual_gap", p->dual_gap, err);
    return s;
}

int provenance_write(ggf_writer *w, const struct provenance *p, ggf_error *err)
{
    int s = ggf_writer_set_str(w, PREFIX "type", p->type, err);
    if (!s && (p->target_bytes || p->target_bpw > 0)) s = write_target(w, p, err);
    if (!s && p->imatrix_sha256)
        s = ggf_writer_set_str(w, PREFIX "imatrix_sha256", p->imatrix_sha256, err);
    if (!s && p->imatrix_sha256)
        s = ggf_writer_set_bool(w, PREFIX "imatrix_shrink", p->imatrix_shrink, err);
    if (!s && p->refine)
        s = ggf_writer_set_u32(w, PREFIX "refine", (uint32_t)p->refine, err);
    if (!s && p->recipe) s = ggf_writer_set_str(w, PREFIX "recipe", p->recipe, err);
    return s;
}
