/* quant_card.h - gguf-quant --model-card: the page of a quantized model. */
#ifndef TOOLS_QUANT_CARD_H
#define TOOLS_QUANT_CARD_H

#include "quant_job.h"

/* Write it, when types are decided: Markdown with a head in YAML, as Hugging Face wants
 * its README.md.  `file_bytes` is the output's size. */
int quant_write_card(struct quant_job *job, uint64_t file_bytes, ggf_error *err);

#endif
