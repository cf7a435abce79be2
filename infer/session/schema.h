/* schema.h - a JSON schema as a grammar of the texts that satisfy it.
 *
 * Every text of the grammar is JSON and satisfies the schema; not every text that
 * satisfies it is in the grammar.  As in llama.cpp,
 *   - properties come in the order of the schema, those that are not required may be left
 *     out;
 *   - other properties come only if additionalProperties allows them in so many words, or
 *     if the schema describes none; they follow the described ones;
 *   - between tokens stands nothing, a blank, or one or two line breaks and up to twenty
 *     blanks or tabs; nothing stands before and behind the whole;
 *   - numbers have at most 16 digits, 16 more behind the point, 2 in the exponent (none
 *     where a minimum or maximum is set);
 *   - schemas without a type are taken to be for the type that their keywords are for;
 *   - oneOf is anyOf: a value that fits several of its schemas is not kept out.
 *
 * Understood are type (also a list), enum, const, properties, required,
 * additionalProperties, items, prefixItems, minItems, maxItems, minLength, maxLength,
 * pattern (see pattern.h), format (date, time, date-time, duration, uuid, ipv4, email,
 * hostname), minimum, maximum, exclusiveMinimum, exclusiveMaximum, anyOf, oneOf, allOf,
 * and $ref within the schema, also to itself.  Keywords that only describe (title,
 * description, default, examples, ...) are passed over.  Anything else is an error that
 * names it and its place. */
#ifndef INFER_SESSION_SCHEMA_H
#define INFER_SESSION_SCHEMA_H

#include "grammar.h"

#include <jansson.h>

/* GGF_E_ARG, saying where and what, if the schema is none, asks for what cannot be had,
 * or fits nothing.  The schema may go afterwards. */
int q3n_schema_grammar(q3n_grammar **out, const json_t *schema, ggf_error *err);

/* The same from its text. */
int q3n_schema_parse(q3n_grammar **out, const char *text, size_t len, ggf_error *err);

#endif
