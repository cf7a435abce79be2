/* schemaopt.h - the options that give a reply a JSON schema; the same in all programs
 * that write text. */
#ifndef TOOLS_SCHEMAOPT_H
#define TOOLS_SCHEMAOPT_H

#include "../../infer/session/grammar.h"
#include "opt.h"

struct schema_options {
    const char *text, *file; /* NULL: not given */
};

/* Rows for a table of options; o is a struct schema_options. */
#define SCHEMA_OPTIONS(o)                                                                \
    { "-j, --json-schema", "SCHEMA", OPT_STR, &(o).text,                                 \
      "let a reply be JSON of this schema; {}: any JSON" },                              \
    {                                                                                    \
        "-jf, --json-schema-file", "FILE", OPT_STR, &(o).file,                           \
            "the same with the schema in a file"                                         \
    }

/* The grammar of the schema; NULL if none was given.  Free it.  OPT_GO, or OPT_USAGE
 * after saying what is wrong. */
int schema_options(const struct opt_program *program, const struct schema_options *o,
                   q3n_grammar **out);

#endif
