/* demand.h - replies that must be the call of a tool (tool_choice). */
#ifndef INFER_SERVE_DEMAND_H
#define INFER_SERVE_DEMAND_H

#include "../session/grammar.h"
#include "../text/template.h"
#include "request.h"

/* The grammar of one call, of the tool that r names or of any, in the form that the
 * model's template uses.  GGF_E_ARG if that is not JSON, or if the schema of a tool
 * cannot be followed. */
int demand_grammar(q3n_grammar **out, const struct request *r, enum q3n_call_form form,
                   ggf_error *err);

#endif
