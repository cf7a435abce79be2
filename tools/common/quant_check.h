/* quant_check.h - gguf-quant --compare-tensor. */
#ifndef TOOLS_QUANT_CHECK_H
#define TOOLS_QUANT_CHECK_H

#include "quant_args.h"

/* Compare the tensor args->compare of args->output, an existing file, with the source's
 * and print what was found. */
int quant_check_tensor(const struct quant_args *args, ggf_error *err);

#endif
