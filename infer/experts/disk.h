/* disk.h - reading pieces of a file past the page cache.
 *
 * With O_DIRECT the device writes straight into the memory it is given.  Where the file
 * system refuses (tmpfs, some network and encrypted ones), pages are read through the
 * cache and dropped from it: what is kept is kept by us. */
#ifndef INFER_EXPERTS_DISK_H
#define INFER_EXPERTS_DISK_H

#include "../../libgguf/libgguf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { DISK_ALIGN = 4096 }; /* of offset, length and memory */

struct disk_file {
    int fd;
    _Atomic bool direct; /* until the system says no */
    const char *path;    /* of the caller */
};

/* Fails unless the file has `size` bytes: it is not the one that was looked at before. */
int disk_open(struct disk_file *f, const char *path, uint64_t size, ggf_error *err);
void disk_close(struct disk_file *f);

/* Read `bytes` at `offset`, both multiples of DISK_ALIGN, as is the address; of them the
 * first `need` must come, the file may end behind.  Thread-safe. */
int disk_read(struct disk_file *f, uint64_t offset, void *into, uint64_t bytes,
              uint64_t need, ggf_error *err);

#endif
