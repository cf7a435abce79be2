/* pack_write.h - what writing a pack that was made of a model needs beyond libgguf.h.
 * Internal to libgguf. */
#ifndef GGF_PACK_WRITE_H
#define GGF_PACK_WRITE_H

#include "experts.h"

/* Bytes of the file up to the end of the last record, if none is compressed. */
int pack_records_end(uint64_t *end, const struct ggf_pack_content *content,
                     ggf_error *err);

/* As ggf_pack_writer_finish(), with a source section that gives the model back. */
int pack_writer_finish(ggf_pack_writer *w, const ggf_file *model,
                       const struct model_input *in, ggf_error *err);

#endif
