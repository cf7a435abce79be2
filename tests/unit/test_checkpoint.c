/* test_checkpoint.c - kept states: what is computed after one is restored is what would
 * have been computed without, and what is damaged or foreign is never used. */
#define TINY_HEAD_DIM 32 /* a block of all types of keys and values */
#include "tiny_model.h"

#include "../../infer/session/checkpoint.h"
#include "../../infer/session/kept.h"

#include <dirent.h>
#include <sys/resource.h>

enum { N = 700, CTX = 1024, PAGE = 256 };

static char path[64], dir[64], file[80];
static q3n_model *model;
static q3n_session *session;
static q3n_checkpoints *kept;
static int32_t tokens[N];
static struct q3n_session_options settings;
static const struct q3n_checkpoint_options plenty = { .ram_bytes = UINT64_MAX,
                                                      .max_states = 1000 };

#define ok(call) ck_assert_msg(!(call), "%s", err.message)
static ggf_error err;

static void setup(void)
{
    snprintf(path, sizeof path, "/tmp/q3n-test-XXXXXX");
    snprintf(dir, sizeof dir, "/tmp/q3n-test-XXXXXX");
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/one", dir);
    tiny_write(path, &(struct tiny){ 0 });
    ok(q3n_model_open(&model, path, &(struct q3n_model_options){ .threads = 1 }, &err));
    settings = (struct q3n_session_options){ .n_ctx = CTX };
    ok(q3n_session_new(&session, model, &settings, &err));
    for (int i = 0; i < N; i++) tokens[i] = (i * 7 + i / 5 + i * i / 11) % VOCAB;
}

static void each_file(void (*with)(const char *name))
{
    char name[512];
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *f; (f = readdir(d));) {
        snprintf(name, sizeof name, "%s/%s", dir, f->d_name);
        if (f->d_name[0] != '.') with(name);
    }
    closedir(d);
}

static void remove_it(const char *name) { unlink(name); }

static void teardown(void)
{
    q3n_checkpoints_close(kept);
    q3n_session_free(session);
    q3n_model_close(model);
    each_file(remove_it);
    rmdir(dir);
    unlink(path);
}

static void open_kept(struct q3n_checkpoint_options o, bool on_disk)
{
    q3n_checkpoints_close(kept);
    if (on_disk) o.dir = dir;
    ok(q3n_checkpoints_open(&kept, model, &settings, &o, &err));
}

static void new_session(void)
{
    q3n_session_free(session);
    ok(q3n_session_new(&session, model, &settings, &err));
}

static uint32_t n_last;

/* Logits without anything kept; the last ones are remembered. */
static void plainly(const int32_t *ids, uint32_t n, float logits[VOCAB])
{
    static int32_t last[CTX];
    static float then[VOCAB];
    static struct q3n_session_options with;
    q3n_session *s;
    if (n == n_last && !memcmp(ids, last, n * sizeof *ids) &&
        !memcmp(&with, &settings, sizeof with)) {
        memcpy(logits, then, sizeof then);
        return;
    }
    ok(q3n_session_new(&s, model, &settings, &err));
    ok(q3n_session_eval(s, ids, n, n - 1, logits, &err));
    q3n_session_free(s);
    n_last = n;
    with = settings;
    memcpy(last, ids, n * sizeof *ids);
    memcpy(then, logits, sizeof then);
}

/* In a new session; returns how many tokens were not computed. */
static uint32_t read_prompt(const int32_t *ids, uint32_t n, uint32_t every)
{
    float logits[VOCAB], wanted[VOCAB];
    struct q3n_prompt p = { .tokens = ids, .n = n, .every = every };
    new_session();
    ok(q3n_prompt_eval(session, kept, &p, logits, &err));
    plainly(ids, n, wanted);
    ck_assert_mem_eq(logits, wanted, sizeof wanted);
    ck_assert_uint_eq(q3n_session_pos(session), n);
    ck_assert_mem_eq(q3n_session_tokens(session), ids, n * sizeof *ids);
    return p.n_reused;
}

/* ---- The same numbers ------------------------------------------------------ */

static const uint32_t types[] = { GGF_F32,  GGF_F16,  GGF_BF16, GGF_Q8_0,  GGF_Q5_1,
                                  GGF_Q5_0, GGF_Q4_1, GGF_Q4_0, GGF_IQ4_NL };
enum { TYPES = sizeof types / sizeof *types };

START_TEST(same_bits)
{
    settings.type_k = types[_i];
    settings.type_v = types[_i * 4 % TYPES];
    open_kept(plenty, false);
    ck_assert_uint_eq(read_prompt(tokens, N, 100), 0);
    ck_assert_uint_eq(read_prompt(tokens, N, 0), N - 1);
    ck_assert_uint_eq(read_prompt(tokens, 650, 0), 600);
    ck_assert_uint_eq(read_prompt(tokens, 600, 0), 500);
    ck_assert_uint_eq(read_prompt(tokens, 100, 0), 0);
    tokens[450]++; /* an edit: back to the last state before it */
    ck_assert_uint_eq(read_prompt(tokens, N, 0), 400);
    tokens[12] ^= 1;
    ck_assert_uint_eq(read_prompt(tokens, N, 0), 0);
    tokens[12] ^= 1;
    ck_assert_uint_eq(read_prompt(tokens, N, 0), N - 1);
}
END_TEST

/* Places: marks, multiples, the token before the last. */
START_TEST(places)
{
    const uint32_t marks[] = { 30, 300, 512 };
    ck_assert_uint_eq(q3n_checkpoint_next(0, N, 0, NULL, 0), N - 1);
    ck_assert_uint_eq(q3n_checkpoint_next(N - 1, N, 7, NULL, 0), N);
    ck_assert_uint_eq(q3n_checkpoint_next(0, 1, 0, NULL, 0), 1);
    ck_assert_uint_eq(q3n_checkpoint_next(0, N, 256, marks, 3), 30);
    ck_assert_uint_eq(q3n_checkpoint_next(30, N, 256, marks, 3), 256);
    ck_assert_uint_eq(q3n_checkpoint_next(256, N, 256, marks, 3), 300);
    ck_assert_uint_eq(q3n_checkpoint_next(300, N, 256, marks, 3), 512);
    ck_assert_uint_eq(q3n_checkpoint_next(512, N, 256, marks, 3), N - 1);
}
END_TEST

/* A session that holds the beginning goes on; another one is filled anew. */
START_TEST(what_the_session_holds)
{
    float logits[VOCAB], wanted[VOCAB];
    struct q3n_prompt p = { .tokens = tokens, .n = 400 };
    ok(q3n_prompt_eval(session, NULL, &p, logits, &err));
    ck_assert_uint_eq(p.n_reused, 0);
    p.n = N;
    ok(q3n_prompt_eval(session, NULL, &p, logits, &err));
    ck_assert_uint_eq(p.n_reused, 400);
    plainly(tokens, N, wanted);
    ck_assert_mem_eq(logits, wanted, sizeof wanted);
    open_kept(plenty, false);
    ok(q3n_checkpoints_keep(kept, session, &err));
    tokens[N - 3]++; /* now neither helps */
    ok(q3n_prompt_eval(session, kept, &p, logits, &err));
    ck_assert_uint_eq(p.n_reused, 0);
    tokens[N - 3]--;
    /* From other tokens with a common beginning to a kept state. */
    p.n = 300;
    ok(q3n_prompt_eval(session, kept, &p, logits, &err));
    int32_t longer[N + 5] = { 0 };
    memcpy(longer, tokens, sizeof tokens);
    p.tokens = longer;
    p.n = N + 5;
    ok(q3n_prompt_eval(session, kept, &p, logits, &err));
    ck_assert_uint_eq(p.n_reused, N);
    plainly(longer, N + 5, wanted);
    ck_assert_mem_eq(logits, wanted, sizeof wanted);
}
END_TEST

START_TEST(refuses_other_types)
{
    open_kept(plenty, false);
    settings.type_k = GGF_F16;
    new_session();
    ck_assert_int_eq(q3n_checkpoints_keep(kept, session, &err), GGF_E_ARG);
    ck_assert_int_eq(q3n_checkpoints_restore(kept, session, tokens, 3, &err), GGF_E_ARG);
}
END_TEST

/* ---- Room ------------------------------------------------------------------ */

static uint64_t fixed(void) { return q3n_model_info(model)->bytes_session; }

/* Keys and values are there once, whatever the number of states. */
START_TEST(shared_pages)
{
    open_kept(plenty, false);
    read_prompt(tokens, N, 0);
    const uint64_t one = q3n_checkpoints_stats(kept).ram_bytes;
    for (uint32_t n = 256; n < N; n += 128)
        ok(q3n_session_eval(session, tokens, 0, 0, NULL, &err)),
            read_prompt(tokens, n + 1, 128);
    const struct q3n_checkpoint_stats s = q3n_checkpoints_stats(kept);
    const uint64_t token = q3n_kv_bytes(q3n_model_info(model), &settings);
    ck_assert_uint_eq(one, fixed() + token * (N - 1));
    ck_assert_uint_eq(s.in_ram, 6); /* 128 .. 640, 699 */
    ck_assert_uint_eq(s.ram_bytes, one + 5 * fixed() + token * (128 + 0 + 128 + 0 + 128));
}
END_TEST

/* Of a long sequence the old states become sparse, the newest stays; never more memory or
 * states than allowed. */
START_TEST(limits)
{
    const uint64_t token = q3n_kv_bytes(q3n_model_info(model), &settings);
    struct q3n_checkpoint_options o = plenty;
    o.max_states = 4;
    open_kept(o, false);
    read_prompt(tokens, N, 20);
    ck_assert_uint_eq(q3n_checkpoints_stats(kept).in_ram, 4);
    ck_assert_uint_eq(read_prompt(tokens, N, 0), N - 1);
    ck_assert_uint_gt(read_prompt(tokens, N - 30, 0), 0);
    o = plenty;
    o.ram_bytes = 2 * fixed() + token * (N + PAGE);
    open_kept(o, false);
    read_prompt(tokens, N, 20);
    ck_assert_uint_le(q3n_checkpoints_stats(kept).ram_bytes, o.ram_bytes);
    ck_assert_uint_eq(read_prompt(tokens, N, 0), N - 1);
    o.ram_bytes = fixed() + token * 300; /* too little for all tokens */
    open_kept(o, false);
    read_prompt(tokens, N, 20);
    ck_assert_uint_le(q3n_checkpoints_stats(kept).ram_bytes, o.ram_bytes);
    ck_assert_uint_eq(read_prompt(tokens, N, 0), 300);
    o.max_states = 0;
    open_kept(o, false);
    read_prompt(tokens, N, 20);
    ck_assert_uint_eq(q3n_checkpoints_stats(kept).in_ram, 0);
}
END_TEST

static struct state *kept_state(struct kept *k, struct page *p, const int32_t *tail,
                                uint32_t n)
{
    struct state *s = state_add(k, p, tail, n);
    ck_assert_ptr_nonnull(s);
    state_hold(k, s, TIER_RAM);
    s->used = k->clock = 100;
    return s;
}

/* Who goes is who saves least: tokens from the next shorter one on, and the longer ago
 * that anybody wanted it. */
START_TEST(who_goes)
{
    static const uint8_t root[KEY_BYTES] = { 1 };
    int32_t other[PAGE_TOKENS], same[PAGE_TOKENS];
    struct kept k;
    for (int i = 0; i < PAGE_TOKENS; i++) other[i] = 1 + (same[i] = i);
    kept_init(&k, root);
    struct page *p = page_add(&k, &k.root, same);
    ck_assert_ptr_nonnull(p);
    struct state *ten = kept_state(&k, &k.root, same, 10);
    struct state *hundred = kept_state(&k, &k.root, same, 100);
    struct state *fifty = kept_state(&k, &k.root, other, 50);
    struct state *behind = kept_state(&k, p, other, 5); /* 261, of which 161 are new */
    ck_assert_ptr_eq(kept_victim(&k, TIER_RAM, NULL), ten);
    ck_assert_ptr_eq(kept_victim(&k, TIER_RAM, ten), fifty);
    ck_assert_ptr_null(kept_victim(&k, TIER_DISK, NULL));
    hundred->used = 80; /* 90 / 21 */
    ck_assert_ptr_eq(kept_victim(&k, TIER_RAM, NULL), hundred);
    behind->used = 60; /* 161 / 41 */
    ck_assert_ptr_eq(kept_victim(&k, TIER_RAM, NULL), behind);
    behind->used = 64; /* 161 / 37 */
    ck_assert_ptr_eq(kept_victim(&k, TIER_RAM, NULL), hundred);
    ck_assert(state_drop(&k, hundred, TIER_RAM)); /* now 251 / 37, and 10, and 50 */
    ck_assert_ptr_eq(kept_victim(&k, TIER_RAM, NULL), behind);
    ck_assert_ptr_eq(kept_match(&k, same, 99), ten);
    kept_free(&k);
}
END_TEST

/* ---- Disk ------------------------------------------------------------------ */

START_TEST(survives)
{
    open_kept(plenty, true);
    read_prompt(tokens, N, 100);
    ok(q3n_checkpoints_flush(kept, &err));
    const uint64_t bytes = q3n_checkpoints_stats(kept).disk_bytes;
    open_kept(plenty, true);
    struct q3n_checkpoint_stats s = q3n_checkpoints_stats(kept);
    ck_assert_uint_eq(s.on_disk, 7);
    ck_assert_uint_eq(s.in_ram, 0);
    ck_assert_uint_eq(s.disk_bytes, bytes);
    ck_assert_uint_eq(read_prompt(tokens, N, 0), N - 1);
    tokens[350]++;
    ck_assert_uint_eq(read_prompt(tokens, N, 0), 300);
    ck_assert_uint_eq(q3n_checkpoints_stats(kept).refused, 0);
    /* What had to leave memory is found, too. */
    struct q3n_checkpoint_options o = plenty;
    o.max_states = 1;
    open_kept(o, true);
    read_prompt(tokens, N, 50);
    ck_assert_uint_eq(q3n_checkpoints_stats(kept).in_ram, 1);
    ck_assert_uint_eq(read_prompt(tokens, 460, 0), 450);
    ck_assert_uint_eq(q3n_checkpoints_stats(kept).failed_writes, 0);
}
END_TEST

START_TEST(disk_limit)
{
    struct q3n_checkpoint_options o = plenty;
    o.disk_bytes = 3 * fixed() + 4000 + q3n_kv_bytes(q3n_model_info(model), NULL) * N;
    open_kept(o, true);
    read_prompt(tokens, N, 50);
    ok(q3n_checkpoints_flush(kept, &err));
    const struct q3n_checkpoint_stats s = q3n_checkpoints_stats(kept);
    ck_assert_uint_gt(s.on_disk, 0);
    ck_assert_uint_le(s.disk_bytes, o.disk_bytes);
    ck_assert_uint_eq(s.in_ram, 14);
    open_kept(o, true);
    ck_assert_uint_eq(q3n_checkpoints_stats(kept).disk_bytes, s.disk_bytes);
    ck_assert_uint_gt(read_prompt(tokens, N, 0), 0);
}
END_TEST

/* Of a file: each field of the header, tokens, data; what is behind the end is the last
 * byte. */
static const long regions[] = { 0,  8,   12,  16,  23,  24,   28,   32,   64,   96,
                                95, 128, 159, 160, 300, 1183, 1184, 1200, 9999, 1 << 20 };
enum { REGIONS = sizeof regions / sizeof *regions };
static int region;

static FILE *open_at(const char *name, long *at)
{
    FILE *f = fopen(name, "r+b");
    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END);
    *at = regions[region] < ftell(f) ? regions[region] : ftell(f) - 1;
    fseek(f, *at, SEEK_SET);
    return f;
}

static void damage(const char *name)
{
    long at;
    FILE *f = open_at(name, &at);
    const int byte = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(byte ^ (1 << (region % 8)), f);
    fclose(f);
}

static void cut(const char *name)
{
    long at;
    FILE *f = open_at(name, &at);
    ck_assert_int_eq(ftruncate(fileno(f), at), 0);
    fclose(f);
}

static int seen;
static void damage_second(const char *name)
{
    if (seen++ == 1) damage(name);
}

/* Each region of all files, or of one, is changed: never are there other numbers. */
START_TEST(damaged)
{
    void (*const how[])(const char *) = { damage, cut, damage_second };
    open_kept(plenty, true);
    read_prompt(tokens, N, 100);
    ok(q3n_checkpoints_flush(kept, &err));
    region = _i / 3;
    seen = 0;
    each_file(how[_i % 3]);
    open_kept(plenty, true);
    const uint32_t reused = read_prompt(tokens, N, 0);
    if (_i % 3 != 2) ck_assert_uint_eq(reused, 0);
    /* And when it is found only after it was listed. */
    each_file(remove_it);
    open_kept(plenty, true);
    read_prompt(tokens, N, 100);
    ok(q3n_checkpoints_flush(kept, &err));
    open_kept(plenty, true);
    seen = 0;
    each_file(how[_i % 3]);
    if (_i % 3 != 2) ck_assert_uint_eq(read_prompt(tokens, N, 0), 0);
    else read_prompt(tokens, N, 0);
    /* What was damaged can be written again. */
    ok(q3n_checkpoints_flush(kept, &err));
    open_kept(plenty, true);
    ck_assert_uint_eq(read_prompt(tokens, N, 0), N - 1);
}
END_TEST

/* That no file can be opened just now does not make one damaged. */
START_TEST(no_descriptors)
{
    struct rlimit before;
    open_kept(plenty, true);
    read_prompt(tokens, N, 0);
    ok(q3n_checkpoints_flush(kept, &err));
    open_kept(plenty, true);
    new_session();
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 0, before.rlim_max }), 0);
    ck_assert_int_eq(q3n_checkpoints_restore(kept, session, tokens, N, &err),
                     GGF_E_NOMEM);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_uint_eq(q3n_checkpoints_stats(kept).refused, 0);
    ck_assert_uint_eq(read_prompt(tokens, N, 0), N - 1);
}
END_TEST

/* The other model differs in the last layer's down projection alone. */
START_TEST(foreign)
{
    open_kept(plenty, true);
    read_prompt(tokens, N, 100);
    ok(q3n_checkpoints_flush(kept, &err));
    settings.type_v = GGF_BF16;
    open_kept(plenty, true);
    ck_assert_uint_eq(q3n_checkpoints_stats(kept).on_disk, 0);
    settings.type_v = GGF_F32;
    q3n_checkpoints_close(kept);
    kept = NULL;
    n_last = 0;
    q3n_session_free(session);
    q3n_model_close(model);
    tiny_write(path, &(struct tiny){ .type_of = "blk.1.ffn_down_shexp.weight",
                                     .type = GGF_Q8_0 });
    ok(q3n_model_open(&model, path, &(struct q3n_model_options){ .threads = 1 }, &err));
    ok(q3n_session_new(&session, model, &settings, &err));
    open_kept(plenty, true);
    ck_assert_uint_eq(q3n_checkpoints_stats(kept).on_disk, 0);
    ck_assert_uint_eq(read_prompt(tokens, N, 0), 0);
}
END_TEST

START_TEST(no_folder)
{
    struct q3n_checkpoint_options o = plenty;
    o.dir = "/nonexistent/folder";
    ck_assert_int_eq(q3n_checkpoints_open(&kept, model, &settings, &o, &err), GGF_E_IO);
    ck_assert_ptr_null(kept);
    o.dir = path;
    ck_assert_int_eq(q3n_checkpoints_open(&kept, model, &settings, &o, &err), GGF_E_IO);
}
END_TEST

/* ---- One file -------------------------------------------------------------- */

static void write_one(void)
{
    uint32_t n;
    open_kept(plenty, false);
    read_prompt(tokens, N, 100);
    ok(q3n_checkpoints_save(kept, file, false, tokens, N, &n, &err));
    ck_assert_uint_eq(n, N - 1);
}

START_TEST(one_file)
{
    int32_t *ids;
    uint32_t n;
    write_one();
    ck_assert_int_eq(q3n_checkpoints_save(kept, file, false, tokens, N, &n, &err),
                     GGF_E_EXISTS);
    ck_assert_int_eq(q3n_checkpoints_save(kept, file, true, tokens + 1, N, &n, &err),
                     GGF_E_NOT_FOUND);
    open_kept(plenty, false);
    ok(q3n_checkpoints_load(kept, file, &ids, &n, &err));
    ck_assert_uint_eq(n, N - 1);
    ck_assert_mem_eq(ids, tokens, n * sizeof *ids);
    free(ids);
    ck_assert_uint_eq(read_prompt(tokens, N, 0), N - 1);
    ck_assert_uint_eq(read_prompt(tokens, 450, 0), 400);
    open_kept(plenty, false);
    ck_assert_int_eq(q3n_checkpoints_load(kept, "/nonexistent", &ids, &n, &err),
                     GGF_E_NOT_FOUND);
    settings.type_k = GGF_F16;
    open_kept(plenty, false);
    ck_assert_int_eq(q3n_checkpoints_load(kept, file, &ids, &n, &err), GGF_E_ARG);
}
END_TEST

/* All or nothing. */
START_TEST(one_file_damaged)
{
    int32_t *ids;
    uint32_t n;
    write_one();
    region = _i / 2;
    if (_i % 2) damage(file);
    else cut(file);
    open_kept(plenty, false);
    ck_assert_int_lt(q3n_checkpoints_load(kept, file, &ids, &n, &err), 0);
    ck_assert_ptr_null(ids);
    ck_assert_uint_eq(q3n_checkpoints_stats(kept).in_ram, 0);
    ck_assert_uint_eq(q3n_checkpoints_stats(kept).ram_bytes, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("checkpoint");
    TCase *c = tcase_create("checkpoint");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, same_bits, 0, TYPES);
    tcase_add_test(c, places);
    tcase_add_test(c, what_the_session_holds);
    tcase_add_test(c, refuses_other_types);
    tcase_add_test(c, shared_pages);
    tcase_add_test(c, limits);
    tcase_add_test(c, who_goes);
    tcase_add_test(c, survives);
    tcase_add_test(c, disk_limit);
    tcase_add_loop_test(c, damaged, 0, 3 * REGIONS);
    tcase_add_test(c, no_descriptors);
    tcase_add_test(c, foreign);
    tcase_add_test(c, no_folder);
    tcase_add_test(c, one_file);
    tcase_add_loop_test(c, one_file_damaged, 0, 2 * REGIONS);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
