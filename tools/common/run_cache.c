/* run_cache.c - a prompt whose beginning is in a file; see run.h. */
#include "run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int run_check_cache(const char *path, ggf_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!folder) return ggf_no_memory(err);
    int r = 0;
    if (access(folder, W_OK | X_OK))
        r = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot write %.200s: %s", path,
                     strerror(errno));
    free(folder);
    return r;
}

static int open_cache(struct run *run, ggf_error *err)
{
    const struct q3n_checkpoint_options o = { .ram_bytes = UINT64_MAX,
                                              .max_states = UINT32_MAX };
    const struct q3n_session_options session = q3n_session_settings(run->g.session);
    int32_t *tokens;
    uint32_t n;
    int r = q3n_checkpoints_open(&run->cache, run->model, &session, &o, err);
    if (r) return r;
    r = q3n_checkpoints_load(run->cache, run->o->cache, &tokens, &n, err);
    free(tokens);
    if (r != GGF_E_NOT_FOUND || run->o->cache_ro) return r;
    return run_check_cache(run->o->cache, err);
}

/* All but the last token, of which the logits are wanted. */
static int read_most(struct run *run, const struct q3n_ids *ids, enum q3n_stop *why,
                     ggf_error *err)
{
    const uint32_t most = (uint32_t)ids->n - 1;
    q3n_session *s = run->g.session;
    int r = q3n_checkpoints_restore(run->cache, s, ids->ids, most, err);
    if (r) return r;
    const uint32_t known = q3n_session_pos(s);
    for (uint32_t i = 0; i < known; i++) q3n_sampler_accept(run->g.sampler, ids->ids[i]);
    *why = Q3N_STOP_LIMIT;
    if (known == most) return 0;
    r = q3n_prefill(&run->g, ids->ids + known, most - known, why, err);
    if (r || *why != Q3N_STOP_LIMIT) return r;
    run->cache_grew = true;
    return q3n_checkpoints_keep(run->cache, s, err);
}

int run_read(struct run *run, const struct q3n_ids *ids, enum q3n_stop *why,
             ggf_error *err)
{
    if (!run->o->cache) return q3n_prefill(&run->g, ids->ids, ids->n, why, err);
    int r = open_cache(run, err);
    if (!r) r = read_most(run, ids, why, err);
    if (r || *why != Q3N_STOP_LIMIT) return r;
    return q3n_prefill(&run->g, ids->ids + ids->n - 1, 1, why, err);
}

int run_save_cache(struct run *run, ggf_error *err)
{
    const struct run_options *o = run->o;
    const q3n_session *s = run->g.session;
    uint32_t n;
    int r = 0;
    if (o->cache_ro || !run->cache) return 0;
    if (o->cache_all) {
        r = q3n_checkpoints_keep(run->cache, s, err);
        run->cache_grew = true;
    }
    if (r || !run->cache_grew) return r;
    return q3n_checkpoints_save(run->cache, o->cache, true, q3n_session_tokens(s),
                                q3n_session_pos(s), &n, err);
}
