/* state_dir.c - see state_dir.h. */
#include "state_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Files that nobody has finished for so long never will be. */
enum { ABANDONED_SECONDS = 3600, NAME_HEX = 2 * KEY_BYTES, FILE_NAME = NAME_HEX + 8 };

static const int64_t NANO = 1000000000;

/* ---- Names ------------------------------------------------------------------- */

static const char *suffix(enum record_kind kind)
{
    return kind == RECORD_PAGE ? ".page" : ".state";
}

static void file_name(char name[FILE_NAME], enum record_kind kind,
                      const uint8_t key[KEY_BYTES])
{
    for (int i = 0; i < KEY_BYTES; i++) snprintf(name + (size_t)2 * i, 3, "%02x", key[i]);
    snprintf(name + NAME_HEX, FILE_NAME - NAME_HEX, "%s", suffix(kind));
}

/* NULL: out of memory. */
static char *path_of(const struct state_dir *d, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", d->path, name) < 0 ? NULL : path;
}

static char *record_path(const struct state_dir *d, enum record_kind kind,
                         const uint8_t key[KEY_BYTES])
{
    char name[FILE_NAME];
    file_name(name, kind, key);
    return path_of(d, name);
}

int state_dir_open(struct state_dir *d, const char *path, ggf_error *err)
{
    struct stat st;
    *d = (struct state_dir){ 0 };
    if (stat(path, &st))
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot open %.200s: %s", path,
                        strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "%.200s is not a folder", path);
    if (access(path, W_OK | X_OK))
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot write in %.200s: %s", path,
                        strerror(errno));
    d->path = strdup(path);
    return d->path ? 0 : ggf_no_memory(err);
}

void state_dir_close(struct state_dir *d)
{
    free(d->path);
    d->path = NULL;
}

/* ---- Files of several records ------------------------------------------------- */

int state_file_open(struct state_file *f, const char *path, ggf_error *err)
{
    struct stat st;
    *f = (struct state_file){ .fd = open(path, O_RDONLY | O_CLOEXEC) };
    if (f->fd < 0 || fstat(f->fd, &st)) {
        /* A shortage says nothing of the file: it is not GGF_E_IO. */
        const bool no_room = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
        const int code = errno == ENOENT ? GGF_E_NOT_FOUND
                         : no_room       ? GGF_E_NOMEM
                                         : GGF_E_IO;
        const int e = ggf_fail(err, code, GGF_NO_OFFSET, "cannot open %.200s: %s", path,
                               strerror(errno));
        state_file_close(f);
        return e;
    }
    f->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    f->path = strdup(path);
    if (f->path) return 0;
    state_file_close(f);
    return ggf_no_memory(err);
}

void state_file_close(struct state_file *f)
{
    if (f->fd >= 0) close(f->fd);
    free(f->path);
    free(f->bytes);
    *f = (struct state_file){ .fd = -1 };
}

static int read_at(const struct state_file *f, uint8_t *into, uint64_t len,
                   ggf_error *err)
{
    for (uint64_t done = 0; done < len;) {
        const ssize_t n = pread(f->fd, into + done, len - done, (off_t)(f->at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return ggf_fail(err, GGF_E_IO, f->at + done, "cannot read %.200s: %s",
                            f->path, n ? strerror(errno) : "it has been cut short");
        done += (uint64_t)n;
    }
    return 0;
}

/* The head of the next record, into memory of its own. */
static int read_head(struct state_file *f, struct kept_record *r, ggf_error *err)
{
    const uint64_t left = f->size - f->at;
    const uint64_t len = left < RECORD_HEAD_MOST ? left : RECORD_HEAD_MOST;
    free(f->bytes);
    f->bytes = malloc(RECORD_HEAD_MOST);
    if (!f->bytes) return ggf_no_memory(err);
    int e = read_at(f, f->bytes, len, err);
    if (!e) e = record_read_head(r, f->bytes, len, f->path, err);
    if (e || record_bytes(r) <= left) return e;
    return ggf_fail(err, GGF_E_FORMAT, f->size, "%.200s is cut off in a record", f->path);
}

int state_file_next(struct state_file *f, struct kept_record *r, ggf_error *err)
{
    if (f->at && f->at == f->size)
        return ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET, "the end of %.200s",
                        f->path);
    int e = read_head(f, r, err);
    if (e) return e;
    const uint64_t len = record_bytes(r);
    uint8_t *bytes = realloc(f->bytes, len);
    if (!bytes) return ggf_no_memory(err);
    f->bytes = bytes;
    if (!(e = read_at(f, bytes, len, err))) e = record_read(r, bytes, len, f->path, err);
    f->at += len;
    return e;
}

/* ---- Files of one ------------------------------------------------------------- */

int state_dir_write(const struct state_dir *d, const struct kept_record *r,
                    ggf_error *err)
{
    ggf_output *out;
    uint64_t at = 0;
    char *path = record_path(d, r->kind, r->key);
    if (!path) return ggf_no_memory(err);
    int e = ggf_output_create(&out, path, true, err);
    free(path);
    if (e) return e;
    e = record_write(out, &at, r, err);
    if (!e) return ggf_output_commit(out, err);
    ggf_output_discard(out);
    return e;
}

static int check_is(const struct kept_record *r, enum record_kind kind,
                    const uint8_t key[KEY_BYTES], const struct state_file *f,
                    ggf_error *err)
{
    if (f->at == f->size && r->kind == kind && !memcmp(r->key, key, KEY_BYTES)) return 0;
    return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                    "%.200s holds something else than its name says", f->path);
}

int state_dir_read(const struct state_dir *d, enum record_kind kind,
                   const uint8_t key[KEY_BYTES], struct kept_record *r, uint8_t **bytes,
                   ggf_error *err)
{
    struct state_file f;
    char *path = record_path(d, kind, key);
    *bytes = NULL;
    if (!path) return ggf_no_memory(err);
    int e = state_file_open(&f, path, err);
    free(path);
    if (e) return e;
    if (!(e = state_file_next(&f, r, err))) e = check_is(r, kind, key, &f, err);
    if (!e) {
        *bytes = f.bytes;
        f.bytes = NULL;
    }
    state_file_close(&f);
    return e;
}

void state_dir_remove(const struct state_dir *d, enum record_kind kind,
                      const uint8_t key[KEY_BYTES])
{
    char *path = record_path(d, kind, key);
    if (path) unlink(path);
    free(path);
}

void state_dir_touch(const struct state_dir *d, enum record_kind kind,
                     const uint8_t key[KEY_BYTES])
{
    char *path = record_path(d, kind, key);
    if (path) utimensat(AT_FDCWD, path, NULL, 0);
    free(path);
}

/* ---- What is there ------------------------------------------------------------ */

struct listing {
    struct state_dir_entry *list;
    size_t n, room;
};

static bool is_key_name(const char *name)
{
    for (int i = 0; i < NAME_HEX; i++)
        if (!strchr("0123456789abcdef", name[i]) || !name[i]) return false;
    return true;
}

static bool is_partial(const char *name)
{
    return strlen(name) > NAME_HEX && strstr(name + NAME_HEX, ".partial.");
}

static struct state_dir_entry *one_more(struct listing *l)
{
    if (l->n == l->room) {
        const size_t room = l->room ? 2 * l->room : 64;
        struct state_dir_entry *list = realloc(l->list, room * sizeof *list);
        if (!list) return NULL;
        l->list = list;
        l->room = room;
    }
    return &l->list[l->n];
}

/* A file that is no record of this root, or not named as it should be, is not listed. */
static int look_at(struct listing *l, const struct state_dir *d, const char *name,
                   const uint8_t root[KEY_BYTES], ggf_error *err)
{
    char expected[FILE_NAME];
    struct state_file f;
    struct stat st;
    struct kept_record r;
    char *path = path_of(d, name);
    struct state_dir_entry *entry = one_more(l);
    int e = path && entry ? state_file_open(&f, path, err) : ggf_no_memory(err);
    free(path);
    if (e) return e;
    if (!read_head(&f, &r, NULL) && record_bytes(&r) == f.size && !fstat(f.fd, &st) &&
        !memcmp(r.root, root, KEY_BYTES)) {
        file_name(expected, r.kind, r.key);
        *entry = (struct state_dir_entry){
            .r = r, .used = st.st_mtim.tv_sec * NANO + st.st_mtim.tv_nsec
        };
        if (r.n_tokens) memcpy(entry->tokens, r.tokens, r.n_tokens * sizeof *r.tokens);
        if (!strcmp(name, expected)) l->n++;
    }
    state_file_close(&f);
    return 0;
}

bool state_dir_is_old(const struct state_dir_entry *entry)
{
    return entry->used / NANO < time(NULL) - ABANDONED_SECONDS;
}

static void remove_if_old(const struct state_dir *d, const char *name)
{
    struct stat st;
    char *path = path_of(d, name);
    if (path && !stat(path, &st) && st.st_mtime < time(NULL) - ABANDONED_SECONDS)
        unlink(path);
    free(path);
}

static int in_order(const void *a, const void *b)
{
    const struct state_dir_entry *x = a, *y = b;
    if (x->r.kind != y->r.kind) return x->r.kind < y->r.kind ? -1 : 1;
    if (x->r.kind == RECORD_STATE && x->used != y->used)
        return x->used < y->used ? -1 : 1;
    if (x->r.start != y->r.start) return x->r.start < y->r.start ? -1 : 1;
    return memcmp(x->r.key, y->r.key, KEY_BYTES);
}

int state_dir_list(const struct state_dir *d, const uint8_t root[KEY_BYTES],
                   struct state_dir_entry **list, size_t *n, ggf_error *err)
{
    struct listing l = { 0 };
    int e = 0;
    *list = NULL;
    *n = 0;
    DIR *dir = opendir(d->path);
    if (!dir)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot read %.200s: %s", d->path,
                        strerror(errno));
    for (struct dirent *f; !e && (f = readdir(dir));) {
        if (!is_key_name(f->d_name)) continue;
        if (is_partial(f->d_name)) remove_if_old(d, f->d_name);
        else if (look_at(&l, d, f->d_name, root, err) == GGF_E_NOMEM) e = GGF_E_NOMEM;
    }
    closedir(dir);
    if (e || !l.n) {
        free(l.list);
        return e;
    }
    qsort(l.list, l.n, sizeof *l.list, in_order);
    for (size_t i = 0; i < l.n; i++) l.list[i].r.tokens = l.list[i].tokens;
    *list = l.list;
    *n = l.n;
    return 0;
}
