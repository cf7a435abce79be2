/* formopt.c - see formopt.h. */
#include "formopt.h"

#include "../../infer/session/gbnf.h"
#include "../../infer/session/schema.h"
#include "input.h"

#include <stdlib.h>
#include <string.h>

const char *form_option_given(const struct form_options *o)
{
    return o->schema         ? "--json-schema"
           : o->schema_file  ? "--json-schema-file"
           : o->grammar      ? "--grammar"
           : o->grammar_file ? "--grammar-file"
                             : NULL;
}

int form_options(const struct opt_program *program, const struct form_options *o,
                 q3n_grammar **out)
{
    const int n = !!o->schema + !!o->schema_file + !!o->grammar + !!o->grammar_file;
    const char *file = o->schema_file ? o->schema_file : o->grammar_file;
    const bool schema = o->schema || o->schema_file;
    struct input in = { 0 };
    ggf_error err;
    *out = NULL;
    if (!n) return OPT_GO;
    if (n > 1)
        return opt_error(program,
                         "give one of --json-schema, --json-schema-file, --grammar and "
                         "--grammar-file");
    int r = file ? input_read(&in, file, &err) : 0;
    const char *text = o->schema ? o->schema : o->grammar ? o->grammar : in.bytes;
    const size_t len = file ? in.len : strlen(text);
    if (!r)
        r = schema ? q3n_schema_parse(out, text, len, &err)
                   : q3n_gbnf_parse(out, text, len, &err);
    free(in.bytes);
    return r ? opt_error(program, "%s", err.message) : OPT_GO;
}
