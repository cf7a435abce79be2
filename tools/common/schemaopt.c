/* schemaopt.c - see schemaopt.h. */
#include "schemaopt.h"

#include "../../infer/session/schema.h"
#include "input.h"

#include <stdlib.h>
#include <string.h>

int schema_options(const struct opt_program *program, const struct schema_options *o,
                   q3n_grammar **out)
{
    struct input in = { 0 };
    ggf_error err;
    int r = 0;
    *out = NULL;
    if (!o->text && !o->file) return OPT_GO;
    if (o->text && o->file)
        return opt_error(program, "give --json-schema or --json-schema-file, not both");
    if (o->file) r = input_read(&in, o->file, &err);
    const char *text = o->text ? o->text : in.bytes;
    if (!r) r = q3n_schema_parse(out, text, o->text ? strlen(text) : in.len, &err);
    free(in.bytes);
    return r ? opt_error(program, "%s", err.message) : OPT_GO;
}
