/* runstats.c - see runstats.h. */
#include "runstats.h"

#include "memopt.h"
#include "out.h"

#include <inttypes.h>

uint64_t peak_memory(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    uint64_t kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %" SCNu64 " kB", &kib) == 1) break;
    if (f) fclose(f);
    return kib * 1024;
}

static double rate(uint64_t n, double seconds)
{
    return n && seconds > 0 ? (double)n / seconds : 0;
}

static void print_json(const struct run_stats *s, double prompt_rate, double decode_rate)
{
    struct json j = { .f = stderr };
    json_open(&j, NULL, '{');
    json_f64(&j, "load_seconds", s->load_seconds);
    json_u64(&j, "prompt_tokens", s->n_prompt);
    json_f64(&j, "prompt_seconds", s->prompt_seconds);
    json_f64(&j, "prompt_tokens_per_second", prompt_rate);
    json_u64(&j, "decode_tokens", s->n_decoded);
    json_f64(&j, "decode_seconds", s->decode_seconds);
    json_f64(&j, "decode_tokens_per_second", decode_rate);
    json_u64(&j, "bytes_per_token", s->info->bytes_token);
    json_f64(&j, "decode_bytes_per_second", decode_rate * (double)s->info->bytes_token);
    json_u64(&j, "peak_memory", peak_memory());
    memory_json(&j, s->info, &s->experts);
    json_close(&j, '}');
    json_end(&j);
}

static void print_text(const struct run_stats *s, double prompt_rate, double decode_rate)
{
    char size[24];
    fprintf(stderr, "\nload     %10.2f s\n", s->load_seconds);
    if (s->n_prompt)
        fprintf(stderr, "prefill  %10.2f tok/s  %6" PRIu64 " tokens in %.2f s\n",
                prompt_rate, s->n_prompt, s->prompt_seconds);
    if (s->n_decoded)
        fprintf(stderr, "decode   %10.2f tok/s  %6" PRIu64 " tokens in %.2f s\n",
                decode_rate, s->n_decoded, s->decode_seconds);
    fprintf(stderr, "weights  %10s read for each decoded token",
            out_size(size, s->info->bytes_token));
    if (s->n_decoded)
        fprintf(stderr, ", %.2f GB/s", 1e-9 * decode_rate * (double)s->info->bytes_token);
    fprintf(stderr, "\nmemory   %10s at most\n", out_size(size, peak_memory()));
    memory_print(stderr, s->info, &s->experts);
}

void run_stats_print(const struct run_stats *s, bool json)
{
    const double prompt_rate = rate(s->n_prompt, s->prompt_seconds);
    const double decode_rate = rate(s->n_decoded, s->decode_seconds);
    if (json) print_json(s, prompt_rate, decode_rate);
    else print_text(s, prompt_rate, decode_rate);
}
