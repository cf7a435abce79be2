/* quant_matrix.c - see quant_matrix.h. */
#include "quant_matrix.h"

#include "shrink.h"

int quant_open_matrix(imatrix **out, const struct quant_args *a, const ggf_file *model,
                      ggf_error *err)
{
    *out = NULL;
    if (!a->matrix) return 0;
    int s = imatrix_open(out, a->matrix, err);
    if (!s && a->shrink) s = shrink_matrix(*out, model, err);
    if (s) return s;
    imatrix_filter(*out, a->include.items, a->include.count, a->exclude.items,
                   a->exclude.count);
    return imatrix_check(*out, err);
}
