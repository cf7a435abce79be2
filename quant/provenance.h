/* provenance.h - what a file whose types were chosen here says of the choice: keys
 * quantize.q3n.*, which other programs pass over. */
#ifndef QUANT_PROVENANCE_H
#define QUANT_PROVENANCE_H

#include "../libgguf/libgguf.h"

struct provenance {
    const char *type;           /* what the user asked for: "UD-Q4_K_XL", "AUTO" */
    uint64_t target_bytes;      /* 0: none was given */
    float target_bpw;           /* 0: none was given */
    const char *types;          /* among which was chosen, with a target */
    const char *imatrix_sha256; /* of the file, in hexadecimal; NULL: there is none */
    bool imatrix_shrink;
    int refine;             /* level; 0 is not written */
    double predicted_error; /* with a target: weighted by class and depth, see */
    double dual_gap;        /* error_table.h; and how far below it no choice goes */
    const char *recipe;     /* recipe_compact(); NULL: types differ within tensors */
};

/* True for a key that is written here: one of a source is not to be passed on. */
bool provenance_is_key(const char *key);

int provenance_write(ggf_writer *w, const struct provenance *p, ggf_error *err);

#endif
