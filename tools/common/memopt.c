/* memopt.c - see memopt.h. */
#include "memopt.h"

#include "gpuopt.h"

#include <inttypes.h>
#include <string.h>

static const char *const load_modes[] = { "auto", "mmap", "populate", "direct" };
static const char *const verifies[] = { "first", "always", "never" };
static const char *const policies[] = { "lfu", "lru", "clock" };

/* The number of a word in a list; n if it is not there, 0 if none was given. */
static int choice(const char *word, const char *const *list, int n)
{
    int i = 0;
    while (word && i < n && strcmp(word, list[i]) != 0) i++;
    return i;
}

int memory_options(const struct opt_program *program, const struct memory_options *o,
                   struct q3n_model_options *out)
{
    const int mode = choice(o->mode, load_modes, 4);
    const int verify = choice(o->verify, verifies, 3);
    const int policy = choice(o->policy, policies, 3);
    if (mode == 4)
        return opt_error(program,
                         "--load-mode %s: expected auto, mmap, populate or "
                         "direct",
                         o->mode);
    if (verify == 3)
        return opt_error(program, "--verify-reads %s: expected first, always or never",
                         o->verify);
    if (policy == 3)
        return opt_error(program, "--cache-policy %s: expected lfu, lru or clock",
                         o->policy);
    if (o->io_threads < 0 || o->io_threads > 64)
        return opt_error(program, "--io-threads must be 1 to 64");
    uint64_t cache = 0;
    if (o->cache && strcmp(o->cache, "auto") != 0 &&
        (!opt_size(o->cache, &cache) || !cache))
        return opt_error(program, "--experts-cache %s: expected a size or auto",
                         o->cache);
    out->ram_bytes = o->ram;
    out->experts_cache_bytes = cache;
    out->load_mode = (enum q3n_load_mode)mode;
    out->verify_reads = (enum q3n_verify_reads)verify;
    out->cache_policy = (enum q3n_cache_policy)policy;
    out->io_threads = o->io_threads;
    out->look_ahead = o->look_ahead;
    return OPT_GO;
}

static double share(uint64_t part, uint64_t rest)
{
    return part + rest ? (double)part / (double)(part + rest) : 0;
}

static double per_second(uint64_t bytes, double seconds)
{
    return seconds > 0 ? 1e-9 * (double)bytes / seconds : 0;
}

void memory_since(struct q3n_expert_stats *s, const struct q3n_expert_stats *before)
{
    s->mapped -= before->mapped;
    s->hits -= before->hits;
    s->misses -= before->misses;
    s->evictions -= before->evictions;
    s->moves -= before->moves;
    s->reads -= before->reads;
    s->retries -= before->retries;
    s->read_bytes -= before->read_bytes;
    s->read_seconds -= before->read_seconds;
    s->wait_seconds -= before->wait_seconds;
    s->guesses -= before->guesses;
    s->guesses_used -= before->guesses_used;
    s->guesses_wasted -= before->guesses_wasted;
    s->guesses_cancelled -= before->guesses_cancelled;
    s->device_hits -= before->device_hits;
    s->device_misses -= before->device_misses;
    s->device_computed -= before->device_computed;
    s->device_bytes -= before->device_bytes;
    s->shrinks -= before->shrinks;
    s->grows -= before->grows;
}

/* Of what the disk gives; 0 if that was not measured. */
static double disk_share(const struct q3n_expert_stats *s, uint64_t bytes, double seconds)
{
    return s->disk_gb_s > 0 ? per_second(bytes, seconds) / s->disk_gb_s : 0;
}

void memory_print(FILE *f, const struct q3n_model_info *info,
                  const struct q3n_expert_stats *s)
{
    char size[24], all[24], read[24];
    gpu_print(f, &info->device);
    if (info->device.pool_slots)
        fprintf(f,
                "slots    %10" PRIu32 " for experts on the device, %.1f %% of %" PRIu64
                " were there, %" PRIu64 " computed here, %s brought\n",
                info->device.pool_slots, 100 * share(s->device_hits, s->device_misses),
                s->device_hits + s->device_misses, s->device_computed,
                out_size(size, s->device_bytes));
    if (!info->bytes_slots) return;
    /* Where all of them are, there is some room between. */
    const uint64_t held =
        info->bytes_slots < info->bytes_experts ? info->bytes_slots : info->bytes_experts;
    fprintf(f, "experts  %10s of %s in memory%s, %.1f %% of %" PRIu64 " were there\n",
            out_size(size, held), out_size(all, info->bytes_experts),
            info->locked ? ", locked" : "", 100 * share(s->hits, s->misses),
            s->hits + s->misses);
    fprintf(f, "disk     %10s read, %.2f GB/s while reading",
            out_size(read, s->read_bytes), per_second(s->read_bytes, s->read_seconds));
    if (s->disk_gb_s > 0)
        fprintf(f, ", %.0f %% of the %.2f GB/s that it gives",
                100 * disk_share(s, s->read_bytes, s->read_seconds), s->disk_gb_s);
    fprintf(f, ", %.2f s waited for it\n", s->wait_seconds);
    if (s->shrinks)
        fprintf(f,
                "limits   %10s of memory for experts at the least, %s at the end: cut "
                "%" PRIu64 " times\n",
                out_size(size, s->slot_bytes_least), out_size(all, s->slot_bytes),
                s->shrinks);
    if (s->short_bytes)
        fprintf(f,
                "limits   %10s less than the experts of one token need was left by a "
                "cgroup\n",
                out_size(size, s->short_bytes));
}

void memory_notice(FILE *f, const char *lead, const struct q3n_expert_stats *a,
                   const struct q3n_expert_stats *b)
{
    char size[24];
    if (a->shrinks != b->shrinks || a->grows != b->grows)
        fprintf(f, "%slimits of cgroups have changed: %s of memory for experts now\n",
                lead, out_size(size, b->slot_bytes));
    if (b->short_bytes > a->short_bytes && !a->short_bytes)
        fprintf(f,
                "%swarning: a cgroup leaves %s less than the experts of one token need; "
                "the system may end this program\n",
                lead, out_size(size, b->short_bytes));
}

void memory_json(struct json *j, const struct q3n_model_info *info,
                 const struct q3n_expert_stats *s)
{
    json_str(j, "load_mode", load_modes[info->load_mode]);
    json_u64(j, "experts_memory", info->bytes_slots);
    json_u64(j, "experts_memory_now", s->slot_bytes);
    json_u64(j, "experts_memory_free", s->slot_bytes_free);
    json_u64(j, "experts_memory_least", s->slot_bytes_least);
    json_u64(j, "experts_memory_shrinks", s->shrinks);
    json_u64(j, "experts_memory_grows", s->grows);
    json_u64(j, "experts_memory_short", s->short_bytes);
    json_bool(j, "locked", info->locked);
    json_u64(j, "experts_mapped", s->mapped);
    json_u64(j, "experts_hits", s->hits);
    json_u64(j, "experts_misses", s->misses);
    json_u64(j, "experts_evicted", s->evictions);
    json_u64(j, "experts_moved", s->moves);
    json_u64(j, "reads", s->reads);
    json_u64(j, "reads_retried", s->retries);
    json_u64(j, "read_bytes", s->read_bytes);
    json_f64(j, "read_seconds", s->read_seconds);
    json_f64(j, "read_gb_s", per_second(s->read_bytes, s->read_seconds));
    if (s->disk_gb_s > 0) {
        json_f64(j, "disk_gb_s", s->disk_gb_s);
        json_f64(j, "disk_share", disk_share(s, s->read_bytes, s->read_seconds));
    }
    json_f64(j, "wait_seconds", s->wait_seconds);
    json_u64(j, "guesses", s->guesses);
    json_u64(j, "guesses_used", s->guesses_used);
    json_u64(j, "guesses_wasted", s->guesses_wasted);
    json_u64(j, "guesses_cancelled", s->guesses_cancelled);
    json_u64(j, "device_hits", s->device_hits);
    json_u64(j, "device_misses", s->device_misses);
    json_u64(j, "device_computed", s->device_computed);
    json_u64(j, "device_bytes", s->device_bytes);
    gpu_json(j, &info->device);
}

void memory_line(FILE *f, const struct q3n_expert_stats *a,
                 const struct q3n_expert_stats *b, uint64_t tokens, double seconds)
{
    const uint64_t hits = b->hits - a->hits, misses = b->misses - a->misses;
    const uint64_t bytes = b->read_bytes - a->read_bytes;
    const double reading = b->read_seconds - a->read_seconds;
    fprintf(f, "%.2f tok/s", seconds > 0 ? (double)tokens / seconds : 0);
    if (hits + misses)
        fprintf(f, ", %.1f %% of experts in memory, %.2f GB/s read",
                100 * share(hits, misses), per_second(bytes, reading));
    if (bytes && b->disk_gb_s > 0)
        fprintf(f, " (%.0f %% of the disk)", 100 * disk_share(b, bytes, reading));
    if (hits + misses)
        fprintf(f, ", %.0f %% of the time waited",
                seconds > 0 ? 100 * (b->wait_seconds - a->wait_seconds) / seconds : 0);
    putc('\n', f);
}
