/* schema_merge.h - schemas that hold at once, as one schema. */
#ifndef INFER_SESSION_SCHEMA_MERGE_H
#define INFER_SESSION_SCHEMA_MERGE_H

#include "schema_build.h"

/* What a schema with allOf, or with $ref and more, says altogether; NULL after a failure:
 * where two say something of the same that cannot be put together.  The compiler keeps
 * it. */
const json_t *schema_merge(struct schema *s, const json_t *schema);

/* A branch of anyOf or oneOf (`key`) together with what stands beside that. */
const json_t *schema_merge_branch(struct schema *s, const json_t *schema, const char *key,
                                  const json_t *branch);

/* The place that a $ref names; NULL after a failure. */
const json_t *schema_target(struct schema *s, const json_t *ref);

/* Does the keyword say nothing of the value? */
bool schema_is_description(const char *key);

#endif
