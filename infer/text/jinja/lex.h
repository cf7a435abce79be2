/* lex.h - a template's source cut into tokens: literal text, the names and signs inside
 * of its tags.  White space around tags goes here, as trim_blocks, lstrip_blocks and the
 * signs '-' and '+' say. */
#ifndef INFER_TEXT_JINJA_LEX_H
#define INFER_TEXT_JINJA_LEX_H

#include "../../../libgguf/libgguf.h"
#include "arena.h"

enum token_kind {
    T_TEXT,      /* outside of tags */
    T_PRINT,     /* {{ */
    T_PRINT_END, /* }} */
    T_TAG,       /* {% */
    T_TAG_END,   /* %} */
    T_NAME,      /* identifier or keyword */
    T_STRING,    /* `bytes` is what it stands for */
    T_INT,
    T_FLOAT,
    T_SIGN, /* operator or bracket, as written */
    T_END,  /* of the template */
};

struct token {
    enum token_kind kind;
    uint32_t line;
    const char *bytes; /* in the arena */
    size_t len;
    int64_t i; /* T_INT */
    double f;  /* T_FLOAT */
};

/* All tokens, the last one T_END; both they and their bytes are in the arena. */
int jinja_lex(struct token **out, const char *source, size_t len, struct arena *arena,
              ggf_error *err);

#endif
