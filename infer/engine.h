/* engine.h - a model that runs, and one sequence of tokens through it.
 *
 *   struct q3n_model    a loaded model: weights (mapped), hyperparameters, experts.
 *                       Immutable after loading; many sessions may share it.
 *   struct q3n_session  one mutable timeline: KV cache, recurrent state, position.
 *                       One thread at a time; the work inside is spread over threads.
 *
 * Tools, servers and tests see nothing of tensors. */
#ifndef INFER_ENGINE_H
#define INFER_ENGINE_H

#include "../libgguf/libgguf.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct q3n_model q3n_model;
typedef struct q3n_session q3n_session;

#define Q3N_CTX_TRAINED UINT32_MAX

struct q3n_session_options {
    uint32_t n_ctx;    /* most tokens the session can hold; 0: 4096 or the training
                          context, whichever is less; Q3N_CTX_TRAINED: all of that,
                          divided by n_seq */
    uint32_t n_ubatch; /* most tokens computed at once; 0: 512 */
    /* What keys and values are stored as: GGF_F32 (0), F16, BF16, Q8_0, Q5_1, Q5_0, Q4_1,
     * Q4_0 or IQ4_NL. */
    uint32_t type_k, type_v;
    /* Rows of logits that the caller holds beside it: they are his, but count as memory
     * that the session takes. */
    uint32_t n_logits;
    uint32_t n_seq; /* sessions of these options that share a lane, for what memory they
                       take together; 0: 1 */
};

/* Can keys and values be of that type?  Of some models not even then: heads must be whole
 * blocks, q3n_session_new() fails with GGF_E_ARG. */
bool q3n_kv_type(uint32_t type);

/* Where the weights are while the model runs. */
enum q3n_load_mode {
    Q3N_LOAD_AUTO,     /* mapped if everything fits into free memory, but all except the
                          experts copied if that fits too; else direct */
    Q3N_LOAD_MMAP,     /* in the mapped files: the system keeps what it has room for */
    Q3N_LOAD_POPULATE, /* so, and all of it is read at once */
    Q3N_LOAD_DIRECT, /* in memory of our own: experts are read when they are needed, past
                        the page cache; the rest is read at once and stays */
};

/* When experts of a pack are checked against their SHA-256. */
enum q3n_verify_reads { Q3N_VERIFY_FIRST, Q3N_VERIFY_ALWAYS, Q3N_VERIFY_NEVER };

/* Which experts go when there is no room. */
enum q3n_cache_policy { Q3N_CACHE_LFU, Q3N_CACHE_LRU, Q3N_CACHE_CLOCK };

/* Where the experts of a layer are, whatever becomes of the others. */
enum q3n_expert_tier {
    Q3N_EXPERTS_ANYWHERE, /* where the load mode puts them */
    Q3N_EXPERTS_MEMORY,   /* all in memory of our own, from the start and for good */
    Q3N_EXPERTS_MAPPED,
    Q3N_EXPERTS_DISK,   /* read when they are needed */
    Q3N_EXPERTS_DEVICE, /* all in memory of the device that computes the layer */
};

/* Who computes all else of a layer. */
enum q3n_layer_place { Q3N_LAYER_ANYWHERE, Q3N_LAYER_HOST, Q3N_LAYER_DEVICE };

/* q3n_model_options.n_gpu_layers: as many as there is memory for, or every one.  Without
 * a device the first means none, and the second fails. */
enum { Q3N_GPU_AUTO = -1, Q3N_GPU_ALL = INT32_MAX };

/* A few tokens need experts that are not in a device's slots: whoever is done sooner, as
 * measured; the device, which they are copied to; or the host, as far as it gives the
 * same bits: not with weights that are floats. */
enum q3n_device_misses { Q3N_MISSES_AUTO, Q3N_MISSES_UPLOAD, Q3N_MISSES_COMPUTE };

/* What of a model a device computes, one that CUDA finds. */
struct q3n_device_options {
    /* The output matrix counts as the first, then come the layers from the last one down;
     * routed experts of a layer go with it while there is room, those of late layers
     * first.  0: nothing is computed on a device. */
    int32_t n_gpu_layers;
    int main_gpu;        /* which device, from 0 */
    uint64_t vram_bytes; /* most of its memory for weights, a session with options
                            `session`, and buffers; 0: what is free, with a reserve */
    bool kv_on_host;     /* keys and values stay in memory of the host, and attention is
                            computed there; recurrent states go with their layers */
    /* Of layers 0, 1, ..., and behind the last one the output matrix.  The others are
     * where n_gpu_layers puts them. */
    const uint8_t *places; /* enum q3n_layer_place; read while the model is opened */
    uint32_t n_places;
    enum q3n_device_misses misses;
    /* AUTO: most of them that are copied for a layer of a batch, but for those that only
     * the device can compute; 0: no limit. */
    uint32_t most_uploads;
};

struct q3n_model_options {
    const char *experts; /* pack file; NULL: the one that the GGUF names, if any */
    int threads;         /* up to 1024; 0: all the process may use */
    bool exact;          /* float32 activations: slow, for comparisons */
    bool mlock;          /* lock the weights in memory; info.locked says if that worked */
    bool no_mmap;        /* read all weights into memory of our own, now */

    enum q3n_load_mode load_mode;
    uint64_t ram_bytes;   /* most memory for everything, the process and one session
                             with options `session` included; 0: no limit */
    uint64_t other_bytes; /* of it, or of free memory, for what the caller has beside */
    uint64_t experts_cache_bytes; /* of it, or of free memory, for experts that were read
                                     (direct); 0: all that is left */
    struct q3n_session_options session;
    enum q3n_verify_reads verify_reads;
    enum q3n_cache_policy cache_policy;
    /* Of layers 0, 1, ...; the others are anywhere.  With one that is neither that nor on
     * a device, the load mode is AUTO or DIRECT, and becomes DIRECT. */
    const uint8_t *expert_tiers; /* enum q3n_expert_tier; read while it is opened */
    uint32_t n_expert_tiers;
    int io_threads;  /* that read experts, up to 64; 0: 6 */
    bool look_ahead; /* read what the next layer is likely to need: in decoding by its
                        router on this layer's input, in prompts the first of all */
    /* A GGUF whose tensors take the place of those of the same name and shape, but for
     * experts in a pack; all but experts stay mapped.  NULL: none. */
    const char *overlay;
    /* Limits of memory are read below this folder instead of /proc and /sys, before each
     * batch: for tests.  NULL: those of the system, a few times a second. */
    const char *limits_root;
    /* Decide what goes where, and that is all: info says it, q3n_model_disk_speed() may
     * be asked, but weights are not read and memory for experts is not taken. */
    bool plan;
    struct q3n_device_options device;
};

/* Open and bind everything; no weight is read yet unless options ask for it. */
int q3n_model_open(q3n_model **out, const char *path,
                   const struct q3n_model_options *options, ggf_error *err);
void q3n_model_close(q3n_model *model); /* NULL is allowed; sessions first */

/* What a device was given of a model; see struct q3n_device_options. */
struct q3n_device_info {
    uint32_t n_layers, n_expert_layers; /* 0 layers and no head: nothing */
    bool head, embedding;
    char name[128];        /* of the device; or, if nothing: */
    char none[200];        /* why; empty if none was asked for */
    uint64_t free_bytes;   /* of its memory, before */
    uint64_t limit_bytes;  /* what may be taken of that */
    uint64_t dense_bytes;  /* weights there, but for routed experts; */
    uint64_t expert_bytes; /* those of whole layers; */
    uint64_t pool_bytes;   /* slots for those of n_slot_layers others, that */
    uint32_t pool_slots;   /* come when they are needed; 0: none do; */
    uint32_t n_slot_layers;
    uint64_t kv_bytes, work_bytes; /* and of all sessions together keys and values, */
    uint64_t state_bytes;          /* buffers, and recurrent states */
    uint64_t pinned_bytes;         /* of the host's memory: experts on their way there */
};

/* What a device can do, in 10^9 a second. */
struct q3n_device_speeds {
    double memory;     /* bytes of its memory read; */
    double upload;     /* bytes copied there from memory that cannot be swapped; */
    double products16; /* products of binary16 numbers by its matrix units, */
    double products8;  /* and of 8-bit integers */
};
/* Measure it, which takes some tenths of a second and, for the time being, up to a
 * quarter of the device's free memory.  GGF_E_NOT_FOUND if there is none. */
int q3n_device_measure(struct q3n_device_speeds *out, int main_gpu, ggf_error *err);

struct q3n_model_info {
    const char *architecture;
    uint32_t n_vocab, n_layer, n_embd, n_ctx_train, n_expert, n_expert_used;
    uint64_t n_params;      /* weights in all tensors */
    uint64_t bytes;         /* of all tensors, experts included */
    uint64_t bytes_files;   /* of all its files: parts of a split set, and the pack */
    uint64_t bytes_token;   /* weight bytes that one decoded token reads */
    uint64_t macs_token;    /* products of a token's activations with weights; */
    uint64_t macs_logits;   /* and those of a token whose logits are wanted: the last
                               layer's experts, the output matrix */
    uint64_t bytes_experts; /* of all routed experts */
    uint64_t bytes_session; /* fixed state of a session (recurrent) */
    uint64_t n_kv;          /* numbers in the keys of a token, in all layers; values
                               have as many */
    uint64_t bytes_dense;   /* of everything but routed experts */
    uint64_t bytes_slots;   /* memory for experts that are read; 0: they are mapped */
    bool packed;            /* experts come from a pack */
    bool locked;            /* all weights in memory are locked there */
    enum q3n_load_mode load_mode; /* never AUTO */
    struct q3n_device_info device;
};
const struct q3n_model_info *q3n_model_info(const q3n_model *model);
/* Memory that keys and values take for each token of context. */
uint64_t q3n_kv_bytes(const struct q3n_model_info *info,
                      const struct q3n_session_options *options);
/* The options with everything that is 0 or too much filled in. */
struct q3n_session_options q3n_session_complete(
    const q3n_model *model, const struct q3n_session_options *options);
/* Memory that a session takes: caches, state, buffers and the caller's logits; not what
 * of them is on a device. */
uint64_t q3n_session_bytes(const q3n_model *model,
                           const struct q3n_session_options *options);

/* What became of the experts that were asked for, since the model was opened.  An expert
 * that several tokens of a batch use counts once for the batch. */
struct q3n_expert_stats {
    uint64_t mapped;           /* used where they are mapped */
    uint64_t hits, misses;     /* found in memory of our own; or read for this use */
    uint64_t evictions, moves; /* pushed out; moved to make room for a larger one */
    uint64_t reads, retries, read_bytes;
    double read_seconds; /* during which at least one read was under way */
    double wait_seconds; /* during which a computing thread waited for one */
    double disk_gb_s; /* 10^9 bytes per second that can be read: q3n_model_measure_disk();
                         or 0 */
    uint64_t guesses, guesses_used, guesses_wasted, guesses_cancelled; /* read ahead */
    /* Of a device's slots: found there, or not; of these computed by the host; and bytes
     * that were copied there. */
    uint64_t device_hits, device_misses, device_computed, device_bytes;
    uint64_t slot_bytes, slot_bytes_free; /* memory of our own for experts, ... */
    uint64_t slot_bytes_least;            /* ... and the least that it was */
    uint64_t shrinks, grows; /* it was cut because a cgroup left less; it was extended */
    uint64_t short_bytes; /* most that a cgroup's limit was below what one token needs */
};
void q3n_model_expert_stats(q3n_model *model, struct q3n_expert_stats *out);
/* Let memory for experts follow the limits of cgroups, as computing does by itself: for
 * who computes nothing for long.  Not while something is computed. */
void q3n_model_follow_limits(q3n_model *model);
/* What traces and histories of this model are marked with (experts/trace.h); to be freed.
 */
struct trace_model;
int q3n_model_trace(const q3n_model *model, struct trace_model *out, ggf_error *err);
void q3n_model_trace_free(struct trace_model *trace);
/* Read the experts that were used most, counts[n_expert, n_layer], as many as there is
 * memory for; *loaded says how many.  GGF_E_ARG if experts are mapped. */
int q3n_model_warm(q3n_model *model, const uint64_t *counts, uint32_t *loaded,
                   ggf_error *err);
/* Find out what the disk gives to threads that only read experts, and remember it in the
 * statistics.  Takes about so many seconds, and does nothing if experts are mapped. */
int q3n_model_measure_disk(q3n_model *model, double seconds, ggf_error *err);
/* GB/s (10^9 bytes per second) at which experts are read, `at_once` of a layer and then
 * the next, measured for about so many seconds.  For a plan whose experts are read. */
int q3n_model_disk_speed(q3n_model *model, uint32_t at_once, double seconds,
                         double *gb_per_second, ggf_error *err);
/* The dense GGUF, for the tokenizer's metadata. */
const ggf_file *q3n_model_file(const q3n_model *model);

int q3n_session_new(q3n_session **out, q3n_model *model,
                    const struct q3n_session_options *options, ggf_error *err);
void q3n_session_free(q3n_session *session);
/* Forget everything: position 0. */
void q3n_session_reset(q3n_session *session);
/* From now on show the inputs of all matrices to an observer (ops/observe.h); NULL: to
 * nobody.  Nobody can see what a device computes: of such a model q3n_session_eval()
 * fails with GGF_E_ARG. */
struct observer;
struct route_watch;
void q3n_session_observe(q3n_session *session, const struct observer *observer);
/* From now on tell a watcher which experts tokens are sent to (ops/moe.h); NULL: nobody.
 */
void q3n_session_watch(q3n_session *session, const struct route_watch *watch);
/* From now on add to a clock what each step takes (ops/clock.h); NULL: to none. */
struct op_clock;
void q3n_session_time(q3n_session *session, struct op_clock *clock);

/* A place to come back to: position and recurrent state.  Keys and values stay in the
 * session, so it may be restored only while every token that was there is: not after a
 * reset, nor after the session went back to a place before it. */
typedef struct q3n_snapshot q3n_snapshot;
int q3n_session_save(q3n_snapshot **out, const q3n_session *session, ggf_error *err);
void q3n_session_restore(q3n_session *session, const q3n_snapshot *snapshot);
void q3n_snapshot_free(q3n_snapshot *snapshot); /* NULL is allowed */

uint32_t q3n_session_pos(const q3n_session *session); /* tokens held so far */
uint32_t q3n_session_ctx(const q3n_session *session);
struct q3n_session_options q3n_session_settings(const q3n_session *session);
/* [q3n_session_pos()]; they change with the session. */
const int32_t *q3n_session_tokens(const q3n_session *session);

/* Append n tokens.  logits: NULL, or room for n_vocab floats for each token from
 * number `first_logits` of this call on (n - 1: just the last one).  Fails with
 * GGF_E_ARG when the context is full or an id is not in the vocabulary, with
 * GGF_E_HASH or GGF_E_IO when an expert's bytes are damaged or cannot be read; the
 * session must then be reset.  With GGF_E_IO, too, when a device fails; the model is then
 * of no use any more. */
int q3n_session_eval(q3n_session *session, const int32_t *tokens, uint32_t n,
                     uint32_t first_logits, float *logits, ggf_error *err);

/* ---- Several sequences at once ------------------------------------------------- */

/* The buffers in which batches are computed.  A session has one of its own, or shares one
 * that is given; sessions that share can be computed together: then weights are read once
 * for all of them.  A lane, with its sessions, belongs to one caller at a time. */
typedef struct q3n_lane q3n_lane;

/* n_ubatch, n_ctx: the most tokens at once of all sessions, and the most of each. */
int q3n_lane_new(q3n_lane **out, q3n_model *model,
                 const struct q3n_session_options *options, ggf_error *err);
void q3n_lane_free(q3n_lane *lane); /* NULL is allowed; sessions first */
int q3n_session_new_in(q3n_session **out, q3n_lane *lane,
                       const struct q3n_session_options *options, ggf_error *err);

struct q3n_run {
    q3n_session *session;
    const int32_t *tokens;
    uint32_t n, first_logits; /* logits are wanted from this one of them on; n: of none */
};

/* Append tokens to different sessions of one lane: what each gets is what it would get
 * alone, bit for bit.  logits: n_vocab floats for each token whose logits are wanted, in
 * the order of the runs; NULL if there is none.  Fails as q3n_session_eval(): with
 * GGF_E_ARG nothing has happened, else the sessions must be reset.  Who observes,
 * watches or times the first session sees all of it. */
int q3n_sessions_eval(const struct q3n_run *runs, uint32_t n_runs, float *logits,
                      ggf_error *err);

#endif
