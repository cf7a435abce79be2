/* probe_file.h - what a probe found, kept for other plans of the same model: for a large
 * one it takes hours.
 *
 * Lines of words; one that starts with '#' says nothing.
 *
 *     q3n-probe 1
 *     elements N                          of the model
 *     curve ROOT SLOPE FACTOR             predict.h
 *     probe TOKENS OUTPUTS KINDS PLANS NOISE SECONDS
 *     weight TENSOR WEIGHT                error_table.h
 *     error TENSOR TYPE ERROR SPREAD
 */
#ifndef TOOLS_PROBE_FILE_H
#define TOOLS_PROBE_FILE_H

#include "probe.h"

/* Replaces a file only if `force` is set. */
int probe_file_write(const char *path, bool force, const struct predict *predict,
                     const struct probe_result *result, const struct error_table *table,
                     const struct plan *plan, ggf_error *err);

/* Fill in what the file tells.  Fails if it is of another model. */
int probe_file_read(const char *path, struct predict *predict,
                    struct probe_result *result, struct error_table *table,
                    const struct plan *plan, ggf_error *err);
/* The same from memory, which is changed; `path` is for messages. */
int probe_file_parse(char *text, size_t len, const char *path, struct predict *predict,
                     struct probe_result *result, struct error_table *table,
                     const struct plan *plan, ggf_error *err);

#endif
