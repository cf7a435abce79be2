/* shrink.h - gguf-quant --imatrix-shrink. */
#ifndef TOOLS_SHRINK_H
#define TOOLS_SHRINK_H

#include "../../quant/imatrix.h"

/* Check a matrix, draw the weights of experts that saw few tokens to what is known
 * otherwise, and say on standard error what was done. */
int shrink_matrix(imatrix *m, const ggf_file *model, ggf_error *err);

#endif
