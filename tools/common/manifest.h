/* manifest.h - reading what gguf-hash (or llama-gguf-hash) printed, to check it. */
#ifndef TOOLS_MANIFEST_H
#define TOOLS_MANIFEST_H

#include "digest.h"
#include "../../libgguf/libgguf.h"

/* One line: ALGORITHM  HEX  FILE[:TENSOR]. */
struct manifest_entry {
    enum digest_kind kind;
    const char *digest;
    const char *tensor; /* "" for the whole model */
    bool used;          /* for the caller */
};

struct manifest {
    char *text;
    struct manifest_entry *entries; /* the lines about one file, sorted */
    size_t count;
    bool has[DIGEST_KINDS]; /* which algorithms the lines use */
};

/* Read the lines of `path` that are about `file`.  A line belongs to it if its name is
 * the same, or the same without folders.  Lines of any other form are skipped. */
int manifest_read(struct manifest *m, const char *path, const char *file, ggf_error *err);
/* NULL if there is none. */
struct manifest_entry *manifest_find(const struct manifest *m, enum digest_kind kind,
                                     const char *tensor);
void manifest_free(struct manifest *m);

#endif
