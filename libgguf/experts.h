/* experts.h - the routed experts among a model's tensors, and reading their bytes.
 * Internal to libgguf. */
#ifndef GGF_EXPERTS_H
#define GGF_EXPERTS_H

#include "pack.h"

struct expert_set {
    struct ggf_expert_layer *layers; /* in order of their blocks */
    uint32_t n_layers;
    uint64_t n_records;
    bool *packed; /* for each tensor: is it one of the experts'? */
    uint64_t n_tensors;
};

/* Find the experts: blk.N.ffn_{gate,up,down,gate_up}_exps.weight.  Each block that has
 * one of them must have a whole set of fitting shapes.  GGF_E_NOT_FOUND if there are
 * none. The tensors must outlive the set. */
int experts_find(struct expert_set *out, const struct ggf_tensor *const *tensors,
                 uint64_t n_tensors, ggf_error *err);
int experts_of_file(struct expert_set *out, const ggf_file *model, ggf_error *err);
void experts_free(struct expert_set *set);

/* Are these the layers and types of a pack's tables? */
bool experts_fit(const struct expert_set *set, const ggf_pack *pack);

/* Where in the file of its tensor a matrix of an expert lies. */
uint64_t experts_part_offset(const struct ggf_expert_layer *layer, uint32_t expert,
                             enum ggf_part part);

/* The files of a model, to be read without mapping them: a mapping's pages would count as
 * our memory. */
struct model_input {
    int *fds;
    uint32_t n;
};
int model_input_open(struct model_input *in, const ggf_file *model, ggf_error *err);
void model_input_close(struct model_input *in);
int model_input_read(const struct model_input *in, uint32_t shard, uint64_t offset,
                     void *into, uint64_t len, ggf_error *err);

/* Replacing an input by an output, even with force, would lose it: GGF_E_ARG. */
int keep_input(const char *output, const char *input, ggf_error *err);

int open_input(int *fd, const char *path, ggf_error *err);
/* pread() and pwrite() of exactly len bytes; `what` names the file in messages. */
int write_exactly(int fd, uint64_t offset, const void *bytes, uint64_t len,
                  ggf_error *err);
int read_exactly(int fd, uint64_t offset, void *into, uint64_t len, const char *what,
                 ggf_error *err);

/* The three matrices of an expert, each to its place in the plain record. */
int experts_gather(const struct model_input *in, const struct ggf_expert_layer *layer,
                   const struct ggf_pack_record *r, uint8_t *into, ggf_error *err);

#endif
