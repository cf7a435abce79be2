/* quant_print.h - gguf-quant's plan as text and as JSON. */
#ifndef TOOLS_QUANT_PRINT_H
#define TOOLS_QUANT_PRINT_H

#include "quant_job.h"

#include <stdio.h>

/* The line of one tensor as llama-quantize prints it. */
void quant_print_item(FILE *f, const struct plan *plan, size_t index);

/* Sizes of source and result. */
void quant_print_totals(FILE *f, const struct plan *plan);

/* On stderr: what of the command line or the matrix did not fit the model. */
void quant_print_notes(const struct quant_job *job);

/* On stdout: the plan as a list, or as JSON. */
void quant_print_plan(const struct quant_job *job);
void quant_print_json(const struct quant_job *job);

#endif
