/* placement.c - what goes where: mapped or read, and how much memory is left for experts.
 */
#include "../experts/limits.h"
#include "model.h"

#include <inttypes.h>

/* What a process holds besides what is counted: libraries, a tokenizer, logits, and for
 * each 4096 bytes 8 of page tables, which count where memory is limited by a cgroup; as
 * much again is left to the system for pages of the program's code. */
static uint64_t process_bytes(uint64_t have) { return (96 << 20) + have / 256; }

static uint64_t free_memory(const struct q3n_model_options *o)
{
    struct memory_limits l;
    memory_limits_read(&l, o->limits_root ? o->limits_root : "");
    return memory_limits_free(&l);
}

/* What a user would type. */
static uint64_t mib(uint64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; }

static int useless(const char *what, const char *when, ggf_error *err)
{
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s has no effect %s", what, when);
}

/* Limits are for memory of our own; mapped files take what the system gives them. */
static int check_mapped(const struct q3n_model *m, const struct q3n_model_options *o,
                        ggf_error *err)
{
    static const char when[] = "on experts that are mapped";
    if (o->ram_bytes) return useless("a limit of memory", when, err);
    if (expert_store_most(m->experts, false)) return 0; /* those are never mapped */
    if (o->experts_cache_bytes) return useless("a size of the cache", when, err);
    if (o->look_ahead) return useless("looking ahead", when, err);
    return o->io_threads ? useless("a number of reading threads", when, err) : 0;
}

static int check_slots(const struct q3n_model *m, const struct q3n_model_options *o,
                       uint64_t rest, uint64_t have, uint64_t slots, ggf_error *err)
{
    const uint64_t least = expert_store_least(m->experts, true);
    const uint64_t most = expert_store_most(m->experts, true);
    const uint64_t context = q3n_session_bytes(m, &o->session);
    if (slots < least && !o->experts_cache_bytes)
        return ggf_fail(
            err, GGF_E_ARG, GGF_NO_OFFSET,
            "%" PRIu64 " MiB of memory are too few: the context takes %" PRIu64
            " MiB, the experts of one token %" PRIu64 " MiB, everything else %" PRIu64
            " MiB, so %" PRIu64 " MiB in all are the least that works",
            have >> 20, mib(context), mib(least), mib(rest - context), mib(rest + least));
    if (slots < least)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%" PRIu64 " MiB for experts are too few: those of one token "
                        "take %" PRIu64 " MiB, and everything else %" PRIu64
                        " MiB, so %" PRIu64 " MiB in all are the least that works",
                        slots >> 20, mib(least), mib(rest), mib(rest + least));
    if (o->ram_bytes && slots > (have > rest ? have - rest : 0))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%" PRIu64 " MiB of experts do not fit: everything else takes "
                        "%" PRIu64 " of %" PRIu64 " MiB",
                        mib(slots), mib(rest), have >> 20);
    if (o->no_mmap && slots < most)
        return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET,
                        "there is memory for %" PRIu64
                        " MiB of experts, all take %" PRIu64,
                        slots >> 20, mib(most));
    return 0;
}

/* Are experts of a layer to be somewhere in the host? */
static bool has_tiers(const struct q3n_model *m)
{
    for (uint32_t l = 0; l < m->hp.n_layer; l++)
        if (m->tiers[l] && m->tiers[l] != Q3N_EXPERTS_DEVICE) return true;
    return false;
}

int placement_choose(const struct q3n_model *m, const struct q3n_model_options *o,
                     struct placement *out, ggf_error *err)
{
    const uint64_t all = expert_store_most(m->experts, true);
    const uint64_t have = o->ram_bytes ? o->ram_bytes : free_memory(o);
    const uint64_t dense = m->info.device.dense_bytes < m->info.bytes_dense
                               ? m->info.bytes_dense - m->info.device.dense_bytes
                               : 0;
    const uint64_t rest = dense + m->info.device.pinned_bytes +
                          q3n_session_bytes(m, &o->session) + o->other_bytes +
                          process_bytes(have);
    if (o->verify_reads && !m->pack)
        return useless("a choice of what is verified", "without an expert pack", err);
    *out = (struct placement){ .mode = o->load_mode, .slots = o->experts_cache_bytes };
    if (o->no_mmap) out->mode = Q3N_LOAD_DIRECT;
    const bool placed = has_tiers(m);
    if (placed && out->mode != Q3N_LOAD_AUTO &&
        (out->mode != Q3N_LOAD_DIRECT || o->no_mmap))
        return useless("a place for experts", "if all are mapped, or all are read", err);
    if (out->mode == Q3N_LOAD_AUTO)
        out->mode =
            placed || out->slots || rest + all > have ? Q3N_LOAD_DIRECT : Q3N_LOAD_MMAP;
    /* Twice in memory, mapped and as our own, if there is room. */
    out->copy = !o->load_mode && out->mode == Q3N_LOAD_MMAP && !o->mlock &&
                rest + all + dense <= have;
    if (out->mode != Q3N_LOAD_DIRECT) {
        if (!out->slots) out->slots = UINT64_MAX; /* of compressed records */
        return o->load_mode ? check_mapped(m, o, err) : 0;
    }
    if (!all) return check_mapped(m, o, err);
    if (!out->slots) out->slots = have > rest ? have - rest : 0;
    if (out->slots > all) out->slots = all;
    return check_slots(m, o, rest, have, out->slots, err);
}
