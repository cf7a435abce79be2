/* state_dir.h - the folder of kept states: one file for each record, named by its key.
 *
 * Files appear whole or not at all; what of their names is somebody else's is left alone.
 */
#ifndef INFER_SESSION_STATE_DIR_H
#define INFER_SESSION_STATE_DIR_H

#include "record.h"

struct state_dir {
    char *path; /* NULL: there is none */
};

/* GGF_E_IO if it is not a folder. */
int state_dir_open(struct state_dir *d, const char *path, ggf_error *err);
void state_dir_close(struct state_dir *d);

int state_dir_write(const struct state_dir *d, const struct kept_record *r,
                    ggf_error *err);
/* The whole record, checked.  *bytes is what it lies in, to be freed. */
int state_dir_read(const struct state_dir *d, enum record_kind kind,
                   const uint8_t key[KEY_BYTES], struct kept_record *r, uint8_t **bytes,
                   ggf_error *err);
/* Neither fails: it is a cache. */
void state_dir_remove(const struct state_dir *d, enum record_kind kind,
                      const uint8_t key[KEY_BYTES]);
void state_dir_touch(const struct state_dir *d, enum record_kind kind,
                     const uint8_t key[KEY_BYTES]);

struct state_dir_entry {
    struct kept_record r; /* without data */
    int64_t used;         /* when, nanoseconds since 1970 */
    int32_t tokens[PAGE_TOKENS];
};

/* The records of one root: pages before what stands behind them, states in the order in
 * which they were used.  Only heads are read.  To be freed. */
int state_dir_list(const struct state_dir *d, const uint8_t root[KEY_BYTES],
                   struct state_dir_entry **list, size_t *n, ggf_error *err);

/* So old that whoever wrote it has long been done with what belongs to it. */
bool state_dir_is_old(const struct state_dir_entry *entry);

/* A file that holds several, one after the other. */
struct state_file {
    int fd;
    char *path;
    uint64_t at, size;
    uint8_t *bytes; /* of the record in hand */
};
int state_file_open(struct state_file *f, const char *path, ggf_error *err);
/* The next one, checked, or GGF_E_NOT_FOUND at the end; good until the next call. */
int state_file_next(struct state_file *f, struct kept_record *r, ggf_error *err);
void state_file_close(struct state_file *f);

#endif
