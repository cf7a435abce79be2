/* trace_file.h - how traces and histories begin; shared by writer and reader. */
#ifndef INFER_EXPERTS_TRACE_FILE_H
#define INFER_EXPERTS_TRACE_FILE_H

#define TRACE_MAGIC   "Q3NROUTE"
#define HISTORY_MAGIC "Q3NHEATS"

enum {
    TRACE_VERSION = 1,
    TRACE_AT_MAGIC = 0, /* 8 bytes */
    TRACE_AT_VERSION = 8,
    TRACE_AT_LAYERS = 12,
    TRACE_AT_EXPERTS = 16,
    TRACE_AT_USED = 20,
    TRACE_AT_DATA_BYTES = 24, /* behind the header */
    TRACE_AT_ID = 32,
    TRACE_AT_DENSE = 64,
    TRACE_HEADER = 128, /* then 8 bytes for each layer */

    TRACE_BLOCK_HEADER = 8, /* layer, tokens */
    TRACE_MAX_TOKENS = 1 << 24,
};

#endif
