/* stream.h - the data of a model's tensors read once, by several lanes at a time.
 *
 * A lane sees every byte of every tensor in file order, a piece at a time; different
 * lanes run on different processors, close behind one another, so that a file larger
 * than memory comes from the disk once.  Pages are brought in ahead of the lanes and let
 * go behind them: what is mapped at a time does not grow with the file. */
#ifndef TOOLS_STREAM_H
#define TOOLS_STREAM_H

#include "../../libgguf/libgguf.h"
#include "out.h"

struct stream_lane {
    /* `len` bytes of a tensor from `offset` on.  A lane is in one call at a time, but
     * not always in the same thread. */
    void (*step)(void *user, const struct ggf_tensor *tensor, uint64_t index,
                 uint64_t offset, size_t len);
    void *user;
};

/* `file` must have been opened with its data. */
int stream_tensors(const ggf_file *file, const struct stream_lane *lanes, int n_lanes,
                   struct progress *progress, ggf_error *err);

/* Bring mapped bytes into memory; GGF_E_IO if the disk does not give them. */
int stream_fetch(const void *bytes, uint64_t len, ggf_error *err);
/* Unmap the whole pages among them; touching them again brings them back. */
void stream_drop(const void *bytes, uint64_t len);

#endif
