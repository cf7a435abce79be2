/* plan_device.c - see plan_device.h.
 *
 * How fast a device computes is not known before it has: what is said is a bound, from
 * the bytes of a token and what memory and link give. */
#include "plan_device.h"

#include "gpuopt.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

bool device_plan_has(const struct placement_plan *p)
{
    return p->info->device.n_layers || p->info->device.head;
}

double device_plan_share(const struct placement_plan *p)
{
    const struct q3n_device_info *d = &p->info->device;
    const double all = (double)d->n_slot_layers * p->info->n_expert;
    return all > 0 ? fmin(1, d->pool_slots / all) : 0;
}

/* ==== Speed =============================================================== */

static void count_bytes(struct placement_plan *p, const struct trace_model *own)
{
    const struct q3n_device_info *d = &p->info->device;
    struct device_bytes *b = &p->device.bytes;
    const double routed = (double)(p->info->bytes_token - own->dense_bytes);
    const double whole = (double)d->n_expert_layers / p->info->n_layer;
    const double slots = (double)d->n_slot_layers / p->info->n_layer;
    b->dense_there = fmin((double)d->dense_bytes, (double)own->dense_bytes);
    b->dense_here = (double)own->dense_bytes - b->dense_there;
    b->there = routed * (whole + slots * p->device.hit_rate);
    b->missing = routed * slots * (1 - p->device.hit_rate);
    b->here = routed * (1 - whole - slots);
    b->disk = (b->missing + b->here) * (1 - p->hit_rate);
}

int device_plan_predict(struct placement_plan *p, const struct trace_model *own,
                        ggf_error *err)
{
    struct device_plan *d = &p->device;
    const int e = q3n_device_measure(&d->measured, p->options->device.main_gpu, err);
    if (e) return e;
    count_bytes(p, own);
    const struct device_speeds reached = { .device = d->measured.memory,
                                           .link = d->measured.upload,
                                           .host = kernel_speeds(&p->speeds) };
    d->forecast = forecast_device(&d->bytes, &reached);
    d->known = true;
    return 0;
}

/* ==== Printing ============================================================ */

void plan_row(struct table *t, const char *what, uint64_t bytes, const char *where)
{
    char size[24];
    table_cell(t, "%s", what);
    table_cell(t, "%s", out_size(size, bytes));
    table_cell(t, "%s", where);
}

void device_plan_rows(const struct placement_plan *p, struct table *t,
                      const char *context)
{
    const struct q3n_device_info *d = &p->info->device;
    char experts[48], slots[48];
    snprintf(experts, sizeof experts, "experts of %" PRIu32 " layers",
             d->n_expert_layers);
    snprintf(slots, sizeof slots, "slots for %" PRIu32 " experts", d->pool_slots);
    if (!device_plan_has(p)) return;
    plan_row(t, gpu_layers(d).text, d->dense_bytes, d->name);
    if (d->n_expert_layers) plan_row(t, experts, d->expert_bytes, d->name);
    if (d->pool_slots) plan_row(t, slots, d->pool_bytes, d->name);
    if (d->kv_bytes) plan_row(t, context, d->kv_bytes, d->name);
    if (d->state_bytes) plan_row(t, "recurrent state", d->state_bytes, d->name);
    plan_row(t, "buffers", d->work_bytes, d->name);
}

void device_plan_print(const struct placement_plan *p, FILE *f)
{
    const struct q3n_device_info *d = &p->info->device;
    char a[24], b[24];
    if (*d->name)
        fprintf(f, "\ndevice   %s may be taken of %s free\n", out_size(a, d->limit_bytes),
                out_size(b, d->free_bytes));
    else if (*d->none) fprintf(f, "\ndevice   none: %s\n", d->none);
}

void device_plan_print_token(const struct placement_plan *p, FILE *f)
{
    const struct device_plan *d = &p->device;
    const struct device_bytes *b = &d->bytes;
    char size[24];
    fprintf(f, "\ntoken    %s from the device's memory at %.0f GB/s, %.2f ms\n",
            out_size(size, (uint64_t)(b->dense_there + b->there)), d->measured.memory,
            1e3 * d->forecast.device_seconds);
    if (p->info->device.pool_slots) {
        fprintf(f, "hits     %.1f %% in slots, ", 100 * d->hit_rate);
        if (p->source) out_text(f, p->source, strlen(p->source), 200);
        fprintf(f, "%s\n", p->source ? " says" : "if all experts are used alike");
        fprintf(f,
                "missing  %s copied at %.1f GB/s and computed from memory at %.1f GB/s, "
                "%.2f ms\n",
                out_size(size, (uint64_t)b->missing), d->measured.upload,
                p->speeds.memory, 1e3 * d->forecast.missing_seconds);
    }
    if (b->dense_here + b->here > 0)
        fprintf(f, "host     %s from memory at %.1f GB/s, %.2f ms\n",
                out_size(size, (uint64_t)(b->dense_here + b->here)), p->speeds.memory,
                1e3 * d->forecast.host_seconds);
    if (b->disk > 0)
        fprintf(f, "disk     %s at %.2f GB/s, %.2f ms\n",
                out_size(size, (uint64_t)b->disk), p->speeds.disk,
                1e3 * d->forecast.disk_seconds);
    fprintf(f,
            "decode   %.1f tok/s at most: what kernels take beside reading is not "
            "counted\n",
            d->forecast.per_second);
}

void device_plan_json(const struct placement_plan *p, struct json *j)
{
    const struct device_plan *d = &p->device;
    json_f64(j, "device_memory_gb_s", d->measured.memory);
    json_f64(j, "device_upload_gb_s", d->measured.upload);
    json_f64(j, "memory_gb_s", p->speeds.memory);
    json_f64(j, "disk_gb_s", p->speeds.disk);
    json_f64(j, "device_hit_rate", d->hit_rate);
    json_f64(j, "token_device_bytes", d->bytes.dense_there + d->bytes.there);
    json_f64(j, "token_missing_bytes", d->bytes.missing);
    json_f64(j, "token_host_bytes", d->bytes.dense_here + d->bytes.here);
    json_f64(j, "token_disk_bytes", d->bytes.disk);
    json_f64(j, "device_seconds", d->forecast.device_seconds);
    json_f64(j, "missing_seconds", d->forecast.missing_seconds);
    json_f64(j, "host_seconds", d->forecast.host_seconds);
    json_f64(j, "disk_seconds", d->forecast.disk_seconds);
    json_f64(j, "decode_tokens_per_second_at_most", d->forecast.per_second);
}
