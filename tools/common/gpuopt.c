/* gpuopt.c - see gpuopt.h. */
#include "gpuopt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* More layers than there are mean all of them, as everywhere. */
static bool parse_layers(const char *text, int32_t *n)
{
    char *end;
    *n = Q3N_GPU_AUTO;
    if (!text || !strcmp(text, "auto")) return true;
    *n = Q3N_GPU_ALL;
    if (!strcmp(text, "all")) return true;
    if (*text < '0' || *text > '9') return false;
    const unsigned long v = strtoul(text, &end, 10);
    if (v < Q3N_GPU_ALL) *n = (int32_t)v;
    return !*end;
}

static bool parse_misses(const char *text, enum q3n_device_misses *how)
{
    static const char *const words[] = { "auto", "upload", "compute" };
    int i = 0;
    while (text && i < 3 && strcmp(text, words[i]) != 0) i++;
    *how = (enum q3n_device_misses)i;
    return i < 3;
}

static bool parse_uploads(const char *text, uint32_t *n)
{
    char *end;
    *n = 0;
    if (!text) return true;
    if (*text < '0' || *text > '9') return false;
    const unsigned long v = strtoul(text, &end, 10);
    *n = v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
    return v && !*end;
}

int gpu_options(const struct opt_program *program, const struct gpu_options *o,
                struct q3n_model_options *out)
{
    struct q3n_device_options *d = &out->device;
    if (!parse_layers(o->layers, &d->n_gpu_layers))
        return opt_error(program, "--n-gpu-layers %s: expected a number, all or auto",
                         o->layers);
    if (!parse_misses(o->misses, &d->misses))
        return opt_error(program, "--device-misses %s: expected auto, upload or compute",
                         o->misses);
    if (!parse_uploads(o->uploads, &d->most_uploads))
        return opt_error(program, "--device-uploads %s: expected a number from 1 on",
                         o->uploads);
    if (o->main_gpu < 0) return opt_error(program, "--main-gpu must be 0 or more");
    d->vram_bytes = o->vram;
    d->main_gpu = o->main_gpu;
    d->kv_on_host = o->no_kv_offload;
    return OPT_GO;
}

static bool is_used(const struct q3n_device_info *d) { return d->n_layers || d->head; }

struct gpu_words gpu_layers(const struct q3n_device_info *d)
{
    struct gpu_words w;
    snprintf(w.text, sizeof w.text, "%" PRIu32 " layer%s%s", d->n_layers,
             d->n_layers == 1 ? "" : "s", d->head ? ", output" : "");
    return w;
}

static uint64_t bytes_of(const struct q3n_device_info *d)
{
    return d->dense_bytes + d->expert_bytes + d->pool_bytes + d->kv_bytes +
           d->state_bytes + d->work_bytes;
}

void gpu_print(FILE *f, const struct q3n_device_info *d)
{
    char size[24];
    if (!is_used(d)) return;
    fprintf(f, "device   %10s of %s: %s, experts of %" PRIu32 "\n",
            out_size(size, bytes_of(d)), d->name, gpu_layers(d).text, d->n_expert_layers);
}

void gpu_json(struct json *j, const struct q3n_device_info *d)
{
    json_open(j, "device", '{');
    json_u64(j, "layers", d->n_layers);
    json_bool(j, "output", d->head);
    json_u64(j, "expert_layers", d->n_expert_layers);
    if (is_used(d)) {
        json_str(j, "name", d->name);
        json_u64(j, "free_bytes", d->free_bytes);
        json_u64(j, "limit_bytes", d->limit_bytes);
        json_u64(j, "dense_bytes", d->dense_bytes);
        json_u64(j, "expert_bytes", d->expert_bytes);
        json_u64(j, "pool_bytes", d->pool_bytes);
        json_u64(j, "pool_slots", d->pool_slots);
        json_u64(j, "kv_bytes", d->kv_bytes);
        json_u64(j, "state_bytes", d->state_bytes);
        json_u64(j, "buffer_bytes", d->work_bytes);
        json_u64(j, "pinned_bytes", d->pinned_bytes);
    } else if (*d->none) {
        json_str(j, "none", d->none);
    }
    json_close(j, '}');
}
