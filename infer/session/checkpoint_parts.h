/* checkpoint_parts.h - what checkpoint.c and checkpoint_file.c share. */
#ifndef INFER_SESSION_CHECKPOINT_PARTS_H
#define INFER_SESSION_CHECKPOINT_PARTS_H

#include "checkpoint.h"
#include "kept.h"
#include "state_dir.h"

struct q3n_checkpoints {
    q3n_model *model;
    uint32_t type_k, type_v;
    struct q3n_checkpoint_options options;
    struct state_dir dir; /* without a path: none */
    struct kept kept;
    struct q3n_checkpoint_stats stats;
};

/* The page of these tokens behind *p, in memory: its keys and values are copied from
 * `data`, or from the session if that is NULL. */
int checkpoints_page(struct kept *k, struct page **p, const int32_t *tokens,
                     const q3n_session *session, const uint8_t *data, ggf_error *err);
/* Likewise the state behind a page; *out is only written if it was not in memory. */
int checkpoints_state(struct kept *k, struct state **out, struct page *p,
                      const int32_t *tail, uint32_t n, const q3n_session *session,
                      const uint8_t *data, ggf_error *err);
/* Push states out of memory, but not `spare`, until so many more bytes and states fit. */
void checkpoints_limit(q3n_checkpoints *c, uint64_t bytes, uint32_t states,
                       const struct state *spare);
/* A record of the folder, checked: its data, in *bytes, which are to be freed. */
int checkpoints_read(const q3n_checkpoints *c, const struct kept_record *wanted,
                     uint8_t **bytes, const uint8_t **data, ggf_error *err);

#endif
