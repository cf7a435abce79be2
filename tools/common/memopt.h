/* memopt.h - the options that say where weights are while a model runs, and what is said
 * of it afterwards; the same in all programs that run one. */
#ifndef TOOLS_MEMOPT_H
#define TOOLS_MEMOPT_H

#include "../../infer/engine.h"
#include "opt.h"
#include "out.h"

struct memory_options {
    uint64_t ram;
    const char *cache, *mode, *verify, *policy;
    int io_threads; /* 0: not given */
    bool look_ahead;
};

/* Rows for a table of options; o is a struct memory_options. */
#define MEMORY_OPTIONS(o)                                                                \
    { .kind = OPT_HEADING, .help = "Memory" },                                           \
        { "--ram", "SIZE", OPT_SIZE, &(o).ram,                                           \
          "most memory for everything together: 12G" },                                  \
        { "--experts-cache", "SIZE", OPT_STR, &(o).cache,                                \
          "memory for experts that are read from disk when\nthey are needed, or auto: "  \
          "all that is left (auto)" },                                                   \
        { "--load-mode", "MODE", OPT_STR, &(o).mode,                                     \
          "mmap: map the files; populate: and read them now;\ndirect: read experts "     \
          "into "                                                                        \
          "memory of our own, past\nthe page cache; auto: map what fits, else direct "   \
          "(auto)" },                                                                    \
        { "--verify-reads", "WHEN", OPT_STR, &(o).verify,                                \
          "check experts of a pack against their SHA-256\nwhen first read, always or "   \
          "never (first)" },                                                             \
        { "--cache-policy", "NAME", OPT_STR, &(o).policy,                                \
          "which experts make room: lfu, lru or clock (lfu)" },                          \
        { "--io-threads", "N", OPT_INT, &(o).io_threads,                                 \
          "threads that read experts (6)" },                                             \
    {                                                                                    \
        "--look-ahead", NULL, OPT_FLAG, &(o).look_ahead,                                 \
            "read what the next layer is likely to need"                                 \
    }

/* Put them into the options of a model.  OPT_GO, or OPT_USAGE after saying what is wrong.
 */
int memory_options(const struct opt_program *program, const struct memory_options *o,
                   struct q3n_model_options *out);

/* Take from the counts what had been counted before. */
void memory_since(struct q3n_expert_stats *counts, const struct q3n_expert_stats *before);

/* What is on a device, and what a run has done with experts so far.  Nothing is printed
 * if there is none, and all are mapped. */
void memory_print(FILE *f, const struct q3n_model_info *info,
                  const struct q3n_expert_stats *stats);
/* Says so, on a line that starts with `lead`, when memory for experts was cut or extended
 * since `before`, or is less than works well. */
void memory_notice(FILE *f, const char *lead, const struct q3n_expert_stats *before,
                   const struct q3n_expert_stats *now);
/* The members of an object; also if all are mapped. */
void memory_json(struct json *j, const struct q3n_model_info *info,
                 const struct q3n_expert_stats *stats);
/* One line, for a look while it runs: what has changed since `before`, over n tokens. */
void memory_line(FILE *f, const struct q3n_expert_stats *before,
                 const struct q3n_expert_stats *now, uint64_t tokens, double seconds);

#endif
