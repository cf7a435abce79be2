/* quant_record.h - what gguf-quant records of a choice of types: keys in the output, and
 * plan files, which it also reads. */
#ifndef TOOLS_QUANT_RECORD_H
#define TOOLS_QUANT_RECORD_H

#include "quant_job.h"

/* --plan-in: a plan file, or a GGUF whose types are to be taken. */
int quant_read_plan(recipe **out, const char *path, ggf_error *err);

/* Fail if an output's path is that of a file which is read: the source would be pulled
 * from under its mapping. */
int quant_spare_inputs(const struct quant_job *job, const char *path, ggf_error *err);

/* Fail now if the text files to be written later are read from, or are there and --force
 * is not given. */
int quant_check_texts(const struct quant_job *job, ggf_error *err);

/* Write a small text file, replacing one if --force is given. */
int quant_write_text(const struct quant_args *args, const char *path, const char *text,
                     ggf_error *err);

/* --plan-out. */
int quant_write_plan(struct quant_job *job, ggf_error *err);

/* Fill job->matrix_sha256 if there is a matrix. */
int quant_hash_matrix(struct quant_job *job, ggf_error *err);

/* Fill job->provenance, if this output gets those keys at all.  Called before types are
 * chosen for a size, the keys take the most room that they can; after that it is to be
 * called again. */
int quant_record(struct quant_job *job, ggf_error *err);
void quant_record_free(struct quant_job *job);

#endif
