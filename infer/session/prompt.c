/* prompt.c - reading a prompt with checkpoints; see checkpoint.h. */
#include "checkpoint.h"

uint32_t q3n_checkpoint_next(uint32_t pos, uint32_t n, uint32_t every,
                             const uint32_t *marks, size_t n_marks)
{
    uint32_t next = pos + 1 < n ? n - 1 : n;
    if (every && pos / every < (next - 1) / every) next = (pos / every + 1) * every;
    for (size_t i = 0; i < n_marks; i++)
        if (marks[i] > pos && marks[i] < next) next = marks[i];
    return next;
}

/* To what the session may stay at. */
static int begin(q3n_session *s, q3n_checkpoints *c, const struct q3n_prompt *p,
                 ggf_error *err)
{
    const uint32_t pos = q3n_session_pos(s);
    const int32_t *own = q3n_session_tokens(s);
    uint32_t i = 0;
    if (c) return q3n_checkpoints_restore(c, s, p->tokens, p->n - 1, err);
    while (i < pos && i + 1 < p->n && own[i] == p->tokens[i]) i++;
    if (i < pos) q3n_session_reset(s);
    return 0;
}

/* Tokens up to `end`, an ubatch at a time. */
static int read_to(q3n_session *s, const struct q3n_prompt *p, uint32_t end,
                   uint32_t batch, float *logits, ggf_error *err)
{
    int e = 0;
    for (uint32_t at; !e && (at = q3n_session_pos(s)) < end;) {
        const uint32_t n = end - at < batch ? end - at : batch;
        if (p->stop && *p->stop) return 0;
        e = q3n_session_eval(s, p->tokens + at, n, n - 1, at + n == p->n ? logits : NULL,
                             err);
        if (!e && p->reading)
            p->reading(p->user, at + n - p->n_reused, p->n - p->n_reused);
    }
    return e;
}

int q3n_prompt_eval(q3n_session *s, q3n_checkpoints *c, struct q3n_prompt *p,
                    float *logits, ggf_error *err)
{
    enum { BATCH = 512 }; /* between two looks at *stop; the session cuts them further */
    int e = begin(s, c, p, err);
    p->n_reused = q3n_session_pos(s);
    for (uint32_t at; !e && (at = q3n_session_pos(s)) < p->n;) {
        const uint32_t next =
            q3n_checkpoint_next(at, p->n, p->every, p->marks, p->n_marks);
        const uint32_t end = c ? next : p->n;
        e = read_to(s, p, end, BATCH, logits, err);
        if (e || q3n_session_pos(s) < end) break;
        if (c && end < p->n) e = q3n_checkpoints_keep(c, s, err);
    }
    return e;
}
