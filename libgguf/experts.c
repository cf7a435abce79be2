/* experts.c - see experts.h. */
#include "experts.h"

#include "bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FUSED = GGF_PARTS, N_KINDS };
static const char *const kinds[N_KINDS] = {
    [GGF_GATE] = "ffn_gate_exps.weight",
    [GGF_UP] = "ffn_up_exps.weight",
    [GGF_DOWN] = "ffn_down_exps.weight",
    [FUSED] = "ffn_gate_up_exps.weight",
};

/* "blk.N.KIND" with N below the limit, without leading zeros: the kind, or -1. */
static int parse_name(const char *name, uint32_t *block)
{
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9') return -1;
    char *end;
    errno = 0;
    const unsigned long n = strtoul(name + 4, &end, 10);
    if (errno || *end != '.' || n >= PACK_MAX_LAYERS) return -1;
    if (name[4] == '0' && end != name + 5) return -1;
    *block = (uint32_t)n;
    for (int k = 0; k < N_KINDS; k++)
        if (!strcmp(end + 1, kinds[k])) return k;
    return -1;
}

/* The tensors of one block by kind. */
struct found {
    const struct ggf_tensor *tensor[N_KINDS];
};

static bool shape_is(const struct ggf_tensor *t, uint64_t ne0, uint64_t ne1, uint64_t ne2)
{
    return t->ne[0] == ne0 && t->ne[1] == ne1 && t->ne[2] == ne2 && t->ne[3] == 1;
}

static int make_layer(struct ggf_expert_layer *l, const struct found *f, uint32_t block,
                      ggf_error *err)
{
    const struct ggf_tensor *down = f->tensor[GGF_DOWN], *fused = f->tensor[FUSED];
    const struct ggf_tensor *gate = f->tensor[GGF_GATE], *up = f->tensor[GGF_UP];
    if (!down || !(fused ? !gate && !up : gate && up))
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "block %" PRIu32 " has not the expert tensors gate, up and down, "
                        "or gate_up and down",
                        block);
    l->shape = (struct ggf_pack_layer){
        .block = block, .n_ff = down->ne[0], .n_embd = down->ne[1], .fused = fused
    };
    const uint64_t n = down->ne[2], embd = down->ne[1], ff = down->ne[0];
    const bool fits = fused ? shape_is(fused, embd, 2 * ff, n)
                            : shape_is(gate, embd, ff, n) && shape_is(up, embd, ff, n);
    if (!fits || down->ne[3] != 1 || n > UINT32_MAX)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "block %" PRIu32 ": the shapes of its expert tensors do not fit "
                        "each other",
                        block);
    l->shape.n_expert = (uint32_t)n;
    l->tensor[GGF_GATE] = fused ? fused : gate;
    l->tensor[GGF_UP] = fused ? fused : up;
    l->tensor[GGF_DOWN] = down;
    return 0;
}

static int make_layers(struct expert_set *set, const struct found *found, ggf_error *err)
{
    for (uint32_t b = 0; b < PACK_MAX_LAYERS; b++) {
        bool any = false;
        for (int k = 0; k < N_KINDS; k++) any |= found[b].tensor[k] != NULL;
        if (!any) continue;
        struct ggf_expert_layer *l = &set->layers[set->n_layers++];
        const int s = make_layer(l, &found[b], b, err);
        if (s) return s;
        l->shape.first_record = set->n_records;
        set->n_records += l->shape.n_expert;
    }
    return 0;
}

int experts_find(struct expert_set *set, const struct ggf_tensor *const *tensors,
                 uint64_t n, ggf_error *err)
{
    *set = (struct expert_set){ .n_tensors = n };
    struct found *found = calloc(PACK_MAX_LAYERS, sizeof *found);
    set->packed = calloc(n + 1, sizeof *set->packed);
    set->layers =
        calloc(n + 1, sizeof *set->layers); /* a layer has two tensors or more */
    int s = found && set->packed && set->layers ? 0 : ggf_no_memory(err);
    bool any = false;
    for (uint64_t i = 0; i < n && !s; i++) {
        uint32_t block;
        const int kind = parse_name(tensors[i]->name, &block);
        if (kind < 0) continue;
        found[block].tensor[kind] = tensors[i];
        set->packed[i] = any = true;
    }
    if (!s && !any)
        s = ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                     "the model has no routed experts (no tensors ffn_*_exps)");
    if (!s) s = make_layers(set, found, err);
    free(found);
    if (s) experts_free(set);
    return s;
}

int experts_of_file(struct expert_set *out, const ggf_file *model, ggf_error *err)
{
    const uint64_t n = ggf_tensor_count(model);
    const struct ggf_tensor **tensors = malloc((n + 1) * sizeof *tensors);
    if (!tensors) return ggf_no_memory(err);
    for (uint64_t i = 0; i < n; i++) tensors[i] = ggf_tensor(model, i);
    const int s = experts_find(out, tensors, n, err);
    free(tensors);
    return s;
}

int ggf_expert_layers(struct ggf_expert_layer **out, uint32_t *n, const ggf_file *model,
                      ggf_error *err)
{
    struct expert_set set;
    *out = NULL;
    *n = 0;
    const int s = experts_of_file(&set, model, err);
    if (s) return s;
    *out = set.layers;
    *n = set.n_layers;
    set.layers = NULL;
    experts_free(&set);
    return 0;
}

bool experts_fit(const struct expert_set *set, const ggf_pack *pack)
{
    if (set->n_layers != pack->info.n_layers || set->n_records != pack->info.n_records)
        return false;
    for (uint32_t i = 0; i < set->n_layers; i++) {
        const struct ggf_pack_layer *a = &set->layers[i].shape, *b = &pack->layers[i];
        if (a->block != b->block || a->n_expert != b->n_expert ||
            a->n_embd != b->n_embd || a->n_ff != b->n_ff || a->fused != b->fused)
            return false;
    }
    for (uint64_t i = 0; i < set->n_records; i++)
        for (int part = 0; part < GGF_PARTS; part++)
            if (pack->records[i].type[part] !=
                set->layers[pack->records[i].layer].tensor[part]->type)
                return false;
    return true;
}

void experts_free(struct expert_set *set)
{
    free(set->layers);
    free(set->packed);
    *set = (struct expert_set){ 0 };
}

uint64_t experts_part_offset(const struct ggf_expert_layer *l, uint32_t expert,
                             enum ggf_part part)
{
    const struct ggf_tensor *t = l->tensor[part];
    const uint64_t slab = t->bytes / l->shape.n_expert;
    const bool second_half = l->shape.fused && part == GGF_UP;
    return t->offset + expert * slab + (second_half ? slab / 2 : 0);
}

int keep_input(const char *output, const char *input, ggf_error *err)
{
    struct stat a, b;
    if (stat(output, &a) != 0 || stat(input, &b) != 0) return 0;
    if (a.st_dev != b.st_dev || a.st_ino != b.st_ino) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s is read from, it is not replaced",
                    output);
}

int open_input(int *fd, const char *path, ggf_error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot open %s: %s", path,
                        strerror(errno));
    posix_fadvise(*fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return 0;
}

int model_input_open(struct model_input *in, const ggf_file *model, ggf_error *err)
{
    *in = (struct model_input){ 0 };
    const uint32_t n = ggf_shard_count(model);
    in->fds = calloc(n, sizeof *in->fds);
    if (!in->fds) return ggf_no_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        const int s = open_input(&in->fds[i], ggf_shard(model, i)->path, err);
        if (s) {
            model_input_close(in);
            return s;
        }
        in->n++;
    }
    return 0;
}

void model_input_close(struct model_input *in)
{
    for (uint32_t i = 0; i < in->n; i++) close(in->fds[i]);
    free(in->fds);
    *in = (struct model_input){ 0 };
}

int read_exactly(int fd, uint64_t offset, void *into, uint64_t len, const char *what,
                 ggf_error *err)
{
    uint8_t *p = into;
    while (len) {
        const ssize_t n = pread(fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return ggf_fail(err, GGF_E_IO, offset, "cannot read %s: %s", what,
                            n < 0 ? strerror(errno) : "the file has become shorter");
        p += n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

int write_exactly(int fd, uint64_t offset, const void *bytes, uint64_t len,
                  ggf_error *err)
{
    const uint8_t *p = bytes;
    while (len) {
        const ssize_t n = pwrite(fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return ggf_fail(err, GGF_E_IO, offset, "cannot write the pack: %s",
                            strerror(n < 0 ? errno : ENOSPC));
        p += n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

int model_input_read(const struct model_input *in, uint32_t shard, uint64_t offset,
                     void *into, uint64_t len, ggf_error *err)
{
    return read_exactly(in->fds[shard], offset, into, len, "the model", err);
}

int experts_gather(const struct model_input *in, const struct ggf_expert_layer *l,
                   const struct ggf_pack_record *r, uint8_t *into, ggf_error *err)
{
    for (int i = 0; i < GGF_PARTS; i++) {
        const int s = model_input_read(
            in, l->tensor[i]->shard, experts_part_offset(l, r->expert, (enum ggf_part)i),
            into + r->part_offset[i], r->part_bytes[i], err);
        if (s) return s;
    }
    return 0;
}
