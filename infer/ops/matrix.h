/* matrix.h - weight matrices, and products of several of them with one batch. */
#ifndef INFER_OPS_MATRIX_H
#define INFER_OPS_MATRIX_H

#include "../../libgguf/libgguf.h"
#include "../../quant/mul.h"
#include "team.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ACT_KINDS = ACT_Q8_K + 1 };

/* `rows` rows of n weights: y = W x. */
struct matrix {
    const uint8_t *data;
    uint32_t type, n, rows;
    size_t row_bytes;
    enum act_kind act;
    mul_fn mul;
    float scale; /* of the result; 1 but for files with separate scale tensors */
};

/* Fills m; false if the type has no kernel. */
bool matrix_init(struct matrix *m, uint32_t type, const void *data, uint32_t n,
                 uint32_t rows, bool exact);

/* A batch of vectors in the forms that kernels want: token t of form k lies at
 * data[k] + t * stride[k]. */
struct acts {
    uint8_t *data[ACT_KINDS];
    size_t stride[ACT_KINDS];
    uint32_t n;
};

/* Bytes that acts_place() takes for `tokens` vectors of n in the forms of the bit set. */
size_t acts_bytes(unsigned kinds, uint32_t n, size_t tokens);
void acts_place(struct acts *a, void *memory, unsigned kinds, uint32_t n, size_t tokens);
/* Encode vector t in all forms of the bit set. */
void acts_encode(const struct acts *a, unsigned kinds, size_t t, const float *x);

/* y[t * y_stride + r] for rows r of m from `row` on and `tokens` vectors from `token` on;
 * y is where the first of them goes. */
void matrix_mul(const struct matrix *m, uint32_t row, uint32_t rows, const struct acts *x,
                size_t token, size_t tokens, float *y, size_t y_stride);

/* When weights are used once, for few tokens, it is long stretches of them that memory
 * gives fastest.  Several matrices are then counted off in groups of GROUP_ROWS rows, the
 * last one of a matrix maybe smaller; a piece of work is a stretch of groups. */
enum { GROUP_ROWS = 16, STREAM_TOKENS = 64 };
uint64_t matrix_groups(uint32_t rows);
/* The shortest stretch of groups that is worth its start. */
uint64_t matrix_least_stretch(const struct matrix *m);
/* The rows of a matrix of `rows` rows that are in the stretch, which is then cut to what
 * comes behind the matrix and counted from there. */
struct matrix_rows {
    uint32_t first, n;
};
struct matrix_rows matrix_in_stretch(uint32_t rows, struct stretch *s);

/* Matrices that multiply the same input; part i fills the columns from out[i] on of
 * an output row.  This is how rows of a fused tensor get to their places without being
 * moved in memory. */
struct linear_part {
    struct matrix m;
    uint32_t out;
};
struct linear_chunk {
    uint32_t part, row, rows;
};
struct linear {
    uint32_t n, width; /* floats of an input and an output row */
    unsigned kinds;    /* bit set of activation forms that the parts take */
    uint32_t n_parts, n_chunks;
    struct linear_part *parts;   /* owned */
    struct linear_chunk *chunks; /* owned */
};

/* Append a part, starting at the given output column.  False: out of memory. */
bool linear_add(struct linear *l, const struct matrix *m, uint32_t out);
/* After the last part: plan the pieces of work.  False: out of memory. */
bool linear_plan(struct linear *l);
void linear_free(struct linear *l);

/* y[t * y_stride + ...] = products of all parts for the first `tokens` vectors of x. */
void linear_team(const struct member *me, const struct linear *l, const struct acts *x,
                 size_t tokens, float *y, size_t y_stride);

#endif
