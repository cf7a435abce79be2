/* metadata.h - the keys of a quantized file: what is copied from the source, what is
 * dropped, what is added, in llama-quantize's order. */
#ifndef QUANT_METADATA_H
#define QUANT_METADATA_H

#include "imatrix.h"
#include "provenance.h"

enum override_kind { OVERRIDE_INT, OVERRIDE_FLOAT, OVERRIDE_BOOL, OVERRIDE_STR };

/* KEY=TYPE:VALUE of --override-kv. */
struct kv_override {
    char key[128];
    enum override_kind kind;
    int64_t integer;
    double number;
    bool boolean;
    const char *string; /* points into the text it was parsed from */
};

int kv_override_parse(struct kv_override *out, const char *text, ggf_error *err);

struct metadata {
    const ggf_file *source;
    uint32_t file_type; /* general.file_type */
    const struct kv_override *overrides;
    int n_overrides;
    const imatrix *matrix;   /* or NULL */
    const char *matrix_path; /* as it is to be recorded */
    const char *arch;
    const bool *pruned; /* one for each layer of the source; NULL: none */
    uint32_t n_layers;  /* of the source */
    uint32_t shard, n_shards;
    uint64_t n_tensors;                  /* of all shards */
    const struct provenance *provenance; /* or NULL */
    bool copy;   /* types stay: so does what the source says of them */
    bool compat; /* write integers and pruned arrays as llama-quantize does */
};

/* Set the keys of one output file. */
int metadata_write(ggf_writer *w, const struct metadata *m, ggf_error *err);

/* An unsigned number of the model, an override going before the file: element 0 if
 * it is an array.  *out stays as it is if there is no such number. */
void metadata_get_u32(const ggf_file *file, const struct kv_override *overrides, int n,
                      const char *key, uint32_t *out);

#endif
