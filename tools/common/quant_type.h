/* quant_type.h - what TYPE on gguf-quant's command line may be: a file type, a preset or
 * COPY. */
#ifndef TOOLS_QUANT_TYPE_H
#define TOOLS_QUANT_TYPE_H

#include "../../quant/preset.h"

struct quant_type {
    const struct file_type *to;  /* NULL: COPY */
    const struct preset *preset; /* whose file type `to` is; or NULL */
};

/* False if the word is none. */
bool quant_type_parse(struct quant_type *type, const char *word);
const char *quant_type_name(const struct quant_type *type);

/* The table for --help. */
void quant_type_list(char *out, size_t size);

/* For a word that is none: " near it: Q4_K_M, ..." or what there is. */
void quant_type_suggest(char *out, size_t size, const char *word);

#endif
