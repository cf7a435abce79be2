/* recipe.h - the types of a plan as text, to be read again or by llama-quantize.
 *
 *     #source:model-BF16.gguf=f32
 *     ^blk\.0\.attn_q\.weight$=q8_0
 *     ^blk\.0\.ffn_down_exps\.weight$=q5_K
 *
 * A line for each tensor whose type is a choice, in the order of the plan.  Each is also
 * a REGEX=TYPE of llama-quantize's --tensor-type-file, which knows no comments: so lines
 * that start with '#' have the same form, with a pattern that no name matches. */
#ifndef QUANT_RECIPE_H
#define QUANT_RECIPE_H

#include "plan.h"

typedef struct recipe recipe;

/* Read a text; `path` is for messages.  A line is a name and a type with '=' between; the
 * name may be written as the pattern above or as it is.  Empty lines and those that start
 * with '#' are passed over.  GGF_E_FORMAT, and the number of the line, if there is
 * another, if a type is unknown or a name comes twice. */
int recipe_read(recipe **out, const char *text, size_t len, const char *path,
                ggf_error *err);

/* The types of all tensors of a model. */
int recipe_of_model(recipe **out, const ggf_file *model, const char *path,
                    ggf_error *err);

/* NULL is allowed. */
void recipe_free(recipe *r);

/* The type for a tensor, or MIX_NO_TYPE. */
int recipe_type(const recipe *r, const char *name);

/* Does it suit the plan?  Fails if it names a tensor that the plan has not, or has but
 * may not change; with `complete`, also if it does not name one that could be changed. */
int recipe_check(const recipe *r, const struct plan *plan,
                 const struct plan_options *options, bool complete, ggf_error *err);

/* Write a plan's.  `head` is a list of "key:value" that ends with NULL; what a pattern
 * cannot hold is replaced by '_'.  Returns text to be freed; NULL: out of memory. */
char *recipe_write(const struct plan *plan, const struct plan_options *options,
                   const char *const *head);

/* The same on one line, layers of one type together: "output.weight=q6_K
 * blk.{0,2-7}.ffn_down_exps.weight=q5_K".  recipe_compact_bound() is the most bytes, NUL
 * included, that this can take whatever types the plan gets. */
char *recipe_compact(const struct plan *plan, const struct plan_options *options);
size_t recipe_compact_bound(const struct plan *plan);

#endif
