/* synth_write.h - writing a made-up model: one GGUF, or a dense one and a pack. */
#ifndef TOOLS_SYNTH_WRITE_H
#define TOOLS_SYNTH_WRITE_H

#include "synth.h"

/* Tensors were listed.  `vocab` gives the tokenizer, or is NULL.  With s->pack the
 * experts go there; both files appear, or none. */
int synth_write(const struct synth *s, const ggf_file *vocab, const char *path,
                ggf_error *err);

/* Bytes of both files, headers left out; 0 of the pack where there is none. */
int synth_sizes(const struct synth *s, uint64_t *gguf, uint64_t *pack, ggf_error *err);

#endif
