/* quant_matrix.h - the importance matrix of gguf-quant's command line. */
#ifndef TOOLS_QUANT_MATRIX_H
#define TOOLS_QUANT_MATRIX_H

#include "quant_args.h"

/* Open, condition, filter and check it; `model` is the source.  *out stays NULL without
 * --imatrix. */
int quant_open_matrix(imatrix **out, const struct quant_args *args, const ggf_file *model,
                      ggf_error *err);

#endif
