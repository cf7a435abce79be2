/* split.h - the pre-tokenizer of "qwen2" vocabularies: where merges may not cross. */
#ifndef INFER_TEXT_SPLIT_H
#define INFER_TEXT_SPLIT_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the first piece of the text, len > 0.  Call again on the rest.  Time is
 * linear in the text. */
size_t split_qwen2(const uint8_t *text, size_t len);

#endif
