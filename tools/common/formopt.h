/* formopt.h - the options that give a reply its form: a JSON schema, or a grammar; the
 * same in all programs that write text. */
#ifndef TOOLS_FORMOPT_H
#define TOOLS_FORMOPT_H

#include "../../infer/session/grammar.h"
#include "opt.h"

struct form_options {
    const char *schema, *schema_file, *grammar, *grammar_file; /* NULL: not given */
};

/* Rows for a table of options; o is a struct form_options. */
#define FORM_OPTIONS(o)                                                                  \
    { "-j, --json-schema", "SCHEMA", OPT_STR, &(o).schema,                               \
      "let a reply be JSON of this schema; {}: any JSON" },                              \
        { "-jf, --json-schema-file", "FILE", OPT_STR, &(o).schema_file,                  \
          "the same with the schema in a file" },                                        \
        { "--grammar", "GRAMMAR", OPT_STR, &(o).grammar,                                 \
          "let a reply match this grammar, in llama.cpp's GBNF" },                       \
    {                                                                                    \
        "--grammar-file", "FILE", OPT_STR, &(o).grammar_file, "the same from a file"     \
    }

/* The first of them that was given; NULL: none. */
const char *form_option_given(const struct form_options *o);

/* The grammar of the form; NULL if none was given.  Free it.  OPT_GO, or OPT_USAGE after
 * saying what is wrong. */
int form_options(const struct opt_program *program, const struct form_options *o,
                 q3n_grammar **out);

#endif
