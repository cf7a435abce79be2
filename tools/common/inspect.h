/* inspect.h - the parts of gguf-inspect, each one section of its output. */
#ifndef TOOLS_INSPECT_H
#define TOOLS_INSPECT_H

#include "../../libgguf/libgguf.h"
#include "out.h"

#include <stdio.h>

struct inspect {
    const char *path;
    ggf_file *file;
    bool cut;          /* data is missing: the file ends too early */
    bool full;         /* long values whole */
    bool bold;         /* colour is allowed */
    struct json *json; /* NULL: text */
};

/* ---- Facts: sums over the tensors of a model ------------------------------ */

struct share {
    uint64_t tensors, params, bytes;
};

struct layer_facts {
    struct share all;
    bool delta, attention, experts, mtp;
    /* Sets of tensor types, bit = enum ggf_type: of the attention or delta matrices, and
     * of the feed-forward ones (of the experts where there are any). */
    uint64_t mixer, shared, gate, up, down;
    uint64_t expert_bytes; /* of one expert: gate, up and down */
};

struct facts {
    struct share all, role[GGF_ROLE_COUNT], type[GGF_TYPE_COUNT];
    struct layer_facts *layers;
    uint64_t n_layers;
    uint32_t n_expert, n_used, mtp_layers;
    /* What one token needs: all but embedding rows, MTP and the experts not chosen. */
    uint64_t active_params, dense_bytes, expert_bytes;
};

int facts_of(struct facts *facts, const ggf_file *file, ggf_error *err);
void facts_free(struct facts *facts);
/* Bits per weight; 0 for nothing. */
double share_bpw(const struct share *s);
/* "q4_K+q6_K" of a set of types, in buf; returns buf. */
char *type_set_text(char buf[64], uint64_t set);
/* Bytes of one of the tensor's matrices if it stacks one per expert; else 0. */
uint64_t bytes_per_expert(const struct ggf_tensor *t);

/* ---- Sections; each returns 0, 1 (work failed, said so) or an error -------- */

int inspect_summary(const struct inspect *in, ggf_error *err);
int inspect_tensors(const struct inspect *in, const char *pattern, ggf_error *err);
int inspect_keys(const struct inspect *in, const char *pattern, ggf_error *err);
/* 1 if there are problems. */
int inspect_check(const struct inspect *in, ggf_error *err);
/* 1 if the models differ. */
int inspect_diff(const struct inspect *in, const char *other, ggf_error *err);

/* An expert pack, at in->path (in->file is not used): the records that match. */
int inspect_pack(const struct inspect *in, const char *pattern, bool check,
                 ggf_error *err);
/* The line about the pack that a dense GGUF names; nothing if it names none. */
void print_pack_line(const ggf_file *dense);

/* A value on one line of text, abbreviated unless full. */
void print_value(FILE *f, const struct ggf_kv *kv, bool full);
/* "[2048, 512, 512]" in buf; returns buf. */
char *shape_text(char buf[96], const struct ggf_tensor *t);

/* Open a model for inspection: gaps are allowed, and data may be missing (then *cut). */
int inspect_open(ggf_file **out, const char *path, bool *cut, ggf_error *err);

#endif
