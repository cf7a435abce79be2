/* read-expert.c - where the bytes of one expert lie in a model.
 *
 *     cc read-expert.c $(pkg-config --cflags --libs libgguf) -o read-expert
 *     ./read-expert model.gguf 3 7        (expert 7 of block 3)
 *
 * The matrices of all experts of a block are one tensor: ne = [row length, rows,
 * experts]. The last dimension is the slowest, so an expert is one run of bytes. */
#include <libgguf.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void print_part(const ggf_file *model, const char *block, uint64_t expert,
                       const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%s.%s.weight", block, part);
    const struct ggf_tensor *t = ggf_find_tensor(model, name);
    if (!t) return; /* fused models have ffn_gate_up_exps, others gate and up */
    if (expert >= t->ne[2]) {
        printf("%-18s has only %" PRIu64 " experts\n", part, t->ne[2]);
        return;
    }
    const uint64_t bytes = t->bytes / t->ne[2], first = t->offset + expert * bytes;
    uint32_t sum = 0; /* shows that the bytes are there */
    for (uint64_t i = 0; i < bytes; i++) sum += t->data[expert * bytes + i];
    printf("%-18s %-8s bytes %" PRIu64 "..%" PRIu64 "  sum %08" PRIx32 "  %s\n", part,
           ggf_type_name(t->type), first, first + bytes - 1, sum,
           ggf_shard(model, t->shard)->path);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: read-expert MODEL.gguf BLOCK EXPERT\n");
        return 2;
    }
    ggf_error err;
    ggf_file *model;
    if (ggf_open(&model, argv[1], NULL, &err) != 0) {
        fprintf(stderr, "read-expert: %s\n", err.message);
        return 1;
    }
    const uint64_t expert = strtoull(argv[3], NULL, 10);
    print_part(model, argv[2], expert, "ffn_gate_exps");
    print_part(model, argv[2], expert, "ffn_up_exps");
    print_part(model, argv[2], expert, "ffn_gate_up_exps");
    print_part(model, argv[2], expert, "ffn_down_exps");
    ggf_close(model);
    return 0;
}
