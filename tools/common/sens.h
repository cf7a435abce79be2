/* sens.h - gguf-quant's --sens: how much tensors matter, from a file instead of from
 * their class and depth (quant/density.h).
 *
 * A file of text in one of two forms.  Empty lines and lines that start with '#' are
 * passed over.
 *
 *   REGEX,DENSITY     a Perl regular expression found anywhere in the name, and what an
 *                     error in these tensors costs against the same error in others,
 *                     weight for weight: 0 or more.  The first line that matches counts;
 *                     other tensors keep the density of their class and depth.
 *
 *   QTYPE,NAME,...    a table as GGUF-Tool-Suite has it: names of tensors and, in the
 * next q,DROP,...        line, what the divergence rose to when that tensor alone was
 * stored as q.  What these tensors cost together stays; it is divided among them by their
 * drops.  A drop that is empty or 0 was not measured: that tensor keeps its density. */
#ifndef TOOLS_SENS_H
#define TOOLS_SENS_H

#include "../../quant/error_table.h"

typedef struct sens sens;

/* `name` is the file's, for messages, which also tell the line. */
int sens_parse(sens **out, const char *text, size_t n, const char *name, ggf_error *err);
int sens_read(sens **out, const char *path, ggf_error *err);
/* NULL is allowed. */
void sens_free(sens *s);

/* Change the weights of a table made of the plan.  Fails if a pattern matches no tensor
 * of the file or a name is none of them.  With NULL nothing happens. */
int sens_apply(const sens *s, const ggf_file *file, const struct plan *plan,
               struct error_table *table, ggf_error *err);

#endif
