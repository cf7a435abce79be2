/* fit.c - what of a model a device computes: what was asked for, as far as its memory
 * goes.  Nothing is taken of that here, so what does not fit fails before it costs
 * anything. */
#include "offload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRAIN = 2 << 20 };     /* memory of a device is handed out in such pieces */
enum { RESERVE = 256 << 20 }; /* left free for the driver, and a 32nd of it all */
enum { ALIGN = 256 };         /* of each tensor */

/* ---- Sizes -------------------------------------------------------------------- */

static uint64_t aligned(uint64_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

static uint64_t whole(uint64_t bytes) { return (bytes + GRAIN - 1) / GRAIN * GRAIN; }

static uint64_t matrix_bytes(const struct matrix *m)
{
    return aligned((uint64_t)m->rows * m->row_bytes);
}

static uint64_t linear_bytes(const struct linear *l)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < l->n_parts; i++) sum += matrix_bytes(&l->parts[i].m);
    return sum;
}

static uint64_t floats(uint64_t n) { return aligned(n * sizeof(float)); }

static uint64_t mixer_bytes(const struct layer *l)
{
    const struct delta_net *d = &l->delta;
    const struct attention *a = &l->attention;
    if (l->recurrent)
        return linear_bytes(&d->in) + linear_bytes(&d->out) + 2 * floats(d->n_v_heads) +
               floats(d->dim) + floats((uint64_t)d->taps * delta_channels(d));
    return linear_bytes(&a->in) + linear_bytes(&a->out) + 2 * floats(a->head_dim);
}

uint64_t offload_dense_bytes(const struct q3n_model *m, uint32_t layer)
{
    const uint64_t norm = floats(m->hp.n_embd);
    if (layer == m->hp.n_layer) return linear_bytes(&m->head) + norm;
    const struct layer *l = &m->layers[layer];
    const struct expert *s = &l->moe.shared;
    return mixer_bytes(l) + linear_bytes(&l->moe.router) + matrix_bytes(&s->gate) +
           matrix_bytes(&s->up) + matrix_bytes(&s->down) + 3 * norm;
}

uint64_t offload_expert_bytes(const struct q3n_model *m, uint32_t layer)
{
    const uint64_t n = m->hp.n_expert;
    /* Matrices may begin in the middle of a unit of alignment. */
    return expert_store_bytes(m->experts, layer) + n * GGF_PARTS * ALIGN +
           aligned(n * sizeof(struct gpu_expert));
}

/* ---- What a device can do --------------------------------------------------------- */

static bool linear_can(const struct linear *l)
{
    for (uint32_t i = 0; i < l->n_parts; i++)
        if (!gpu_type(l->parts[i].m.type)) return false;
    return l->n % 32 == 0;
}

static bool shape_can(const struct layer *l)
{
    const struct delta_net *d = &l->delta;
    const struct attention *a = &l->attention;
    if (l->recurrent) return d->dim % 8 == 0 && d->dim <= 256 && d->taps <= 16;
    return a->head_dim % 32 == 0 && a->head_dim <= 256;
}

static bool layer_can(const struct q3n_model *m, uint32_t layer)
{
    if (layer == m->hp.n_layer) return linear_can(&m->head);
    const struct layer *l = &m->layers[layer];
    const struct moe *moe = &l->moe;
    return shape_can(l) && linear_can(l->recurrent ? &l->delta.in : &l->attention.in) &&
           linear_can(l->recurrent ? &l->delta.out : &l->attention.out) &&
           linear_can(&moe->router) && gpu_type(moe->shared.gate.type) &&
           gpu_type(moe->shared.up.type) && gpu_type(moe->shared.down.type) &&
           moe->n_ff_shared % 32 == 0 && moe->n_expert <= 1024;
}

static bool experts_can(const struct q3n_model *m, uint32_t layer)
{
    return m->hp.n_ff_exp % 32 == 0 && expert_store_types(m->experts, layer, gpu_type);
}

/* ---- The choice ------------------------------------------------------------------- */

struct need {
    uint64_t dense, kv, state, experts;
};

struct fit {
    struct q3n_model *m;
    const struct q3n_model_options *o;
    struct q3n_session_options session;
    struct need *need; /* [n_layer + 1] */
    bool *here;        /* [n_layer + 1] */
    bool *pooled;      /* [n_layer]: layers whose experts may be anywhere */
    uint64_t work;     /* buffers */
    ggf_error *err;
};

static enum q3n_layer_place place_of(const struct fit *f, uint32_t layer)
{
    const struct q3n_device_options *d = &f->o->device;
    return layer < d->n_places ? d->places[layer] : Q3N_LAYER_ANYWHERE;
}

/* What all that is chosen takes, into the model's info; returns the sum. */
static uint64_t add_up(const struct fit *f)
{
    const uint32_t n = f->m->hp.n_layer, n_seq = f->session.n_seq ? f->session.n_seq : 1;
    const struct offload *o = f->m->offload;
    struct q3n_device_info *d = &f->m->info.device;
    uint64_t experts = 0;
    d->pool_slots = o->pool_shape.kept + o->pool_shape.passing;
    d->pool_bytes = d->pool_slots ? pool_bytes(f->m, &o->pool_shape) : 0;
    d->pinned_bytes = stream_bytes(f->m, &o->pool_shape);
    d->dense_bytes = d->kv_bytes = d->state_bytes = d->expert_bytes = 0;
    d->n_layers = d->n_expert_layers = d->n_slot_layers = 0;
    d->head = f->here[n];
    for (uint32_t l = 0; l <= n; l++) {
        if (!f->here[l]) continue;
        d->dense_bytes += f->need[l].dense;
        d->kv_bytes += f->need[l].kv * n_seq;
        d->state_bytes += f->need[l].state * n_seq;
        d->n_layers += l < n;
        d->n_slot_layers += l < n && o->layers[l].pooled;
        if (l == n || !o->layers[l].experts) continue;
        d->n_expert_layers++;
        d->expert_bytes += f->need[l].experts;
        experts += whole(f->need[l].experts);
    }
    /* The input's matrix costs nothing if it is the output's, too. */
    if (d->embedding && f->m->head.parts[0].m.data != f->m->embedding.data)
        d->dense_bytes += matrix_bytes(&f->m->embedding);
    d->work_bytes = d->n_layers || d->head ? f->work : 0;
    return whole(d->dense_bytes) + n_seq * whole((d->kv_bytes + d->state_bytes) / n_seq) +
           whole(d->work_bytes) + whole(d->pool_bytes) + experts;
}

static uint64_t mib(uint64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; }

static int too_much(const struct fit *f, uint64_t sum)
{
    const struct q3n_device_info *d = &f->m->info.device;
    return ggf_fail(f->err, GGF_E_NOMEM, GGF_NO_OFFSET,
                    "%" PRIu32 " layers%s do not fit into the device's memory: %" PRIu64
                    " MiB of weights, %" PRIu64 " of experts, %" PRIu64
                    " of keys and values, %" PRIu64 " of states and %" PRIu64
                    " of buffers are %" PRIu64 " MiB, and %" PRIu64 " of %" PRIu64
                    " MiB free may be taken",
                    d->n_layers, d->head ? " and the output matrix" : "",
                    mib(d->dense_bytes), mib(d->expert_bytes), mib(d->kv_bytes),
                    mib(d->state_bytes), mib(d->work_bytes), mib(sum),
                    d->limit_bytes >> 20, d->free_bytes >> 20);
}

static int cannot(const struct fit *f, uint32_t layer, const char *what)
{
    if (layer == f->m->hp.n_layer)
        return ggf_fail(f->err, GGF_E_ARG, GGF_NO_OFFSET,
                        "the output matrix has a type that a device cannot multiply "
                        "with");
    return ggf_fail(f->err, GGF_E_ARG, GGF_NO_OFFSET,
                    "layer %" PRIu32 ": %s a type or shape that a device cannot compute",
                    layer, what);
}

/* Layers that must be there, and experts. */
static int require(struct fit *f)
{
    const uint32_t n = f->m->hp.n_layer;
    const int32_t asked = f->o->device.n_gpu_layers;
    struct offload *o = f->m->offload;
    for (uint32_t l = 0; l <= n; l++) {
        const enum q3n_layer_place place = place_of(f, l);
        const bool experts = l < n && f->m->tiers[l] == Q3N_EXPERTS_DEVICE;
        f->here[l] = place == Q3N_LAYER_DEVICE || (asked > 0 && n - l < (uint32_t)asked &&
                                                   place == Q3N_LAYER_ANYWHERE);
        if (experts && asked < 0 && place == Q3N_LAYER_ANYWHERE) f->here[l] = true;
        if (experts && !f->here[l])
            return ggf_fail(f->err, GGF_E_ARG, GGF_NO_OFFSET,
                            "layer %" PRIu32 ": experts cannot be on a device that does "
                            "not compute the rest of the layer",
                            l);
        if (f->here[l] && !layer_can(f->m, l)) return cannot(f, l, "a matrix has");
        if (experts && !experts_can(f->m, l)) return cannot(f, l, "experts have");
        if (l < n) o->layers[l].experts = experts;
    }
    const uint64_t sum = add_up(f);
    return sum > f->m->info.device.limit_bytes ? too_much(f, sum) : 0;
}

static bool fits(const struct fit *f)
{
    return add_up(f) <= f->m->info.device.limit_bytes;
}

/* The output matrix, the last layer, ... as long as there is room. */
static void add_layers(struct fit *f)
{
    for (uint32_t l = f->m->hp.n_layer + 1; l-- > 0;) {
        if (f->here[l] || place_of(f, l) == Q3N_LAYER_HOST || !layer_can(f->m, l))
            continue;
        f->here[l] = true;
        if (fits(f)) continue;
        f->here[l] = false;
        return;
    }
}

/* Those of all layers, or whole layers, the last first: what of them fits. */
static bool add_whole(struct fit *f, bool all)
{
    struct offload_layer *layers = f->m->offload->layers;
    bool every = true;
    for (uint32_t l = f->m->hp.n_layer; l-- > 0;) {
        if (!f->pooled[l]) continue;
        layers[l].experts = true;
        if (fits(f)) continue;
        layers[l].experts = every = false;
        if (all) break;
    }
    for (uint32_t l = 0; l < f->m->hp.n_layer && all && !every; l++)
        if (f->pooled[l]) layers[l].experts = false;
    return every;
}

/* What room is left, in slots for the experts of all layers. */
static bool add_pool(struct fit *f)
{
    const uint64_t limit = f->m->info.device.limit_bytes, used = add_up(f);
    struct offload *o = f->m->offload;
    const uint64_t rest = limit > used ? (limit - used) / GRAIN * GRAIN : 0;
    o->pool_shape = pool_shape(f->m, f->pooled, rest);
    for (uint32_t l = 0; l < f->m->hp.n_layer; l++)
        o->layers[l].pooled = f->pooled[l] && o->pool_shape.kept;
    return o->pool_shape.kept;
}

/* Experts that may be anywhere: all there; or in slots, where what is computed stays the
 * same; or those of whole layers. */
static void add_experts(struct fit *f)
{
    const struct offload_layer *layers = f->m->offload->layers;
    for (uint32_t l = 0; l < f->m->hp.n_layer; l++)
        f->pooled[l] =
            f->here[l] && !layers[l].experts && !f->m->tiers[l] && experts_can(f->m, l);
    if (!add_whole(f, true) && !add_pool(f)) add_whole(f, false);
}

static void add_embedding(struct fit *f)
{
    struct q3n_model *m = f->m;
    struct q3n_device_info *d = &m->info.device;
    d->embedding = d->head && gpu_type(m->embedding.type) &&
                   d->n_expert_layers == m->hp.n_layer && !m->offload->kv_host;
    if (!fits(f)) d->embedding = false;
    m->offload->embedding = d->embedding;
}

static int needs(struct fit *f)
{
    const uint32_t n = f->m->hp.n_layer;
    const struct q3n_model *m = f->m;
    f->need = calloc(n + 1, sizeof *f->need);
    f->here = calloc(n + 1, sizeof *f->here);
    f->pooled = calloc(n, sizeof *f->pooled);
    if (!f->need || !f->here || !f->pooled) return ggf_no_memory(f->err);
    for (uint32_t l = 0; l < n; l++) m->offload->layers[l].here = layer_can(m, l);
    m->offload->head = layer_can(m, n);
    f->work = device_work_bytes(m, f->session.n_ubatch);
    for (uint32_t l = 0; l <= n; l++) {
        struct need *need = &f->need[l];
        need->dense = offload_dense_bytes(m, l);
        if (l == n) continue;
        need->experts = offload_expert_bytes(m, l);
        if (m->layers[l].recurrent) need->state = device_state_bytes(m, l);
        else if (!f->o->device.kv_on_host) need->kv = device_kv_bytes(m, &f->session);
    }
    return 0;
}

/* What was chosen, where the rest of the program looks for it. */
static void settle(const struct fit *f)
{
    struct q3n_model *m = f->m;
    add_up(f);
    struct offload *o = m->offload;
    o->head = f->here[m->hp.n_layer];
    o->all = o->head && !o->kv_host;
    for (uint32_t l = 0; l < m->hp.n_layer; l++) {
        struct offload_layer *layer = &o->layers[l];
        layer->here = f->here[l];
        if (layer->experts) m->tiers[l] = Q3N_EXPERTS_DEVICE;
        if (!layer->here || (!layer->experts && !layer->pooled)) o->all = false;
    }
    o->steady = o->all && !o->pool_shape.kept;
}

static int useless(const char *what, const char *when, ggf_error *err)
{
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s has no effect %s", what, when);
}

static const char who[] = "who computes missing experts", uploads[] = "a limit of copies";

/* Somebody was named who computes missing experts, or it was said how many are copied:
 * some are missing, and the host can compute them where it is to. */
static int check_misses(const struct fit *f)
{
    static const char when[] = "where none are in slots";
    const struct q3n_model *m = f->m;
    const enum q3n_device_misses how = f->o->device.misses;
    const bool limited = f->o->device.most_uploads;
    bool can = how != Q3N_MISSES_COMPUTE && !limited;
    if (!how && !limited) return 0;
    if (how && limited)
        return useless(uploads, "where it is said who computes missing experts", f->err);
    if (!m->offload->pool_shape.kept) return useless(how ? who : uploads, when, f->err);
    for (uint32_t l = 0; l < m->hp.n_layer && !can; l++)
        can = f->pooled[l] && expert_store_types(m->experts, l, mul_is_portable);
    return can ? 0
               : ggf_fail(f->err, GGF_E_ARG, GGF_NO_OFFSET,
                          "products of the host with experts that are floats have not "
                          "the bits of the device's");
}

static int choose(struct fit *f)
{
    const int32_t asked = f->o->device.n_gpu_layers;
    struct q3n_device_info *d = &f->m->info.device;
    int e = needs(f);
    if (e || (e = require(f))) return e;
    if (asked < 0) add_layers(f);
    add_experts(f);
    add_embedding(f);
    settle(f);
    if ((e = check_misses(f))) return e;
    if (d->n_layers || d->head || asked >= 0) return 0;
    snprintf(d->none, sizeof d->none,
             "%" PRIu64 " MiB of the memory of %.100s are too few", d->limit_bytes >> 20,
             d->name);
    return 0;
}

/* ---- The device ------------------------------------------------------------------- */

/* Options of a device that will not be there. */
static int check_none(const struct q3n_model *m, const struct q3n_model_options *o,
                      const char *when, ggf_error *err)
{
    const struct q3n_device_options *d = &o->device;
    if (d->vram_bytes) return useless("a limit of a device's memory", when, err);
    if (d->kv_on_host) return useless("keeping keys and values off a device", when, err);
    if (d->main_gpu) return useless("a choice of the device", when, err);
    if (d->misses) return useless(who, when, err);
    if (d->most_uploads) return useless(uploads, when, err);
    for (uint32_t l = 0; l < d->n_places; l++)
        if (d->places[l] == Q3N_LAYER_DEVICE) return useless("a place", when, err);
    for (uint32_t l = 0; l < m->hp.n_layer; l++)
        if (m->tiers[l] == Q3N_EXPERTS_DEVICE)
            return useless("a place for experts", when, err);
    return 0;
}

static int set_limit(struct q3n_device_info *d, const struct q3n_device_options *o,
                     ggf_error *err)
{
    const uint64_t reserve = RESERVE + d->free_bytes / 32;
    d->limit_bytes = d->free_bytes > reserve ? d->free_bytes - reserve : 0;
    if (!o->vram_bytes) return 0;
    if (o->vram_bytes > d->free_bytes)
        return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET,
                        "%" PRIu64 " MiB of the memory of %.100s are asked for, %" PRIu64
                        " are free",
                        mib(o->vram_bytes), d->name, d->free_bytes >> 20);
    d->limit_bytes = o->vram_bytes;
    return 0;
}

static int open_device(struct q3n_model *m, const struct q3n_device_options *d,
                       ggf_error *err)
{
    struct q3n_device_info *info = &m->info.device;
    const int n = gpu_count(err);
    struct offload *o = n > 0 ? calloc(1, sizeof *o) : NULL;
    if (n <= 0) return GGF_E_NOT_FOUND;
    if (!o) return ggf_no_memory(err);
    m->offload = o;
    pthread_mutex_init(&o->mutex, NULL);
    o->kv_host = d->kv_on_host;
    o->layers = calloc(m->hp.n_layer, sizeof *o->layers);
    if (!o->layers) return ggf_no_memory(err);
    if (d->main_gpu < 0 || d->main_gpu >= n)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "there is no device %d: %d are there, counted from 0",
                        d->main_gpu, n);
    const int e = gpu_open(&o->gpu, d->main_gpu, err);
    if (e) return e;
    snprintf(info->name, sizeof info->name, "%s", gpu_describe(o->gpu)->name);
    info->free_bytes = gpu_describe(o->gpu)->bytes_free;
    return 0;
}

/* No device that could be used: that is fine unless one was demanded. */
static int do_without(struct q3n_model *m, const struct q3n_model_options *o, int e,
                      ggf_error *err)
{
    static const char when[] = "without a device that computes";
    char why[sizeof m->info.device.none];
    if (o->device.n_gpu_layers > 0) return e;
    snprintf(why, sizeof why, "%.190s", err->message);
    offload_close(m);
    m->info.device = (struct q3n_device_info){ 0 };
    memcpy(m->info.device.none, why, sizeof why);
    ggf_error useful;
    if (!check_none(m, o, when, &useful)) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%.150s: %.200s", useful.message, why);
}

int offload_choose(struct q3n_model *m, const struct q3n_model_options *o, ggf_error *err)
{
    const struct q3n_device_options *d = &o->device;
    struct fit f = { .m = m, .o = o, .err = err };
    ggf_error mine;
    if (!err) f.err = err = &mine;
    if (!d->n_gpu_layers)
        return check_none(m, o, "if nothing is computed on a device", err);
    if (d->n_gpu_layers < Q3N_GPU_AUTO)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%d layers on a device",
                        (int)d->n_gpu_layers);
    int e = o->exact ? ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                                "a device has no float32 activations")
                     : open_device(m, d, err);
    if (e == GGF_E_ARG && !o->exact) return e;
    if (e) return do_without(m, o, e, err);
    if ((e = set_limit(&m->info.device, d, err))) return e;
    f.session = q3n_session_complete(m, &o->session);
    m->offload->cache_policy = o->cache_policy;
    m->offload->misses = d->misses;
    m->offload->most_uploads = d->most_uploads;
    e = choose(&f);
    free(f.need);
    free(f.here);
    free(f.pooled);
    if (e) return e;
    if (m->info.device.n_layers || m->info.device.head) return 0;
    ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "%s", m->info.device.none);
    return do_without(m, o, GGF_E_NOMEM, err);
}

void offload_close(struct q3n_model *m)
{
    struct offload *o = m->offload;
    if (!o) return;
    offload_unload(m);
    free(o->layers);
    gpu_close(o->gpu);
    pthread_mutex_destroy(&o->mutex);
    free(o);
    m->offload = NULL;
}

bool offload_holds(const struct q3n_model *m, const struct ggf_tensor *t)
{
    const struct offload *o = m->offload;
    uint32_t layer;
    char after;
    if (!o) return false;
    if (!strcmp(t->name, "output.weight")) return o->head;
    if (sscanf(t->name, "blk.%" SCNu32 "%c", &layer, &after) != 2 || after != '.')
        return false;
    if (layer >= m->hp.n_layer) return false;
    return ggf_tensor_role(m->file, t) == GGF_ROLE_EXPERTS ? o->layers[layer].experts
                                                           : o->layers[layer].here;
}
