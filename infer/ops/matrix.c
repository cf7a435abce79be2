/* matrix.c - how products are cut into pieces and handed to the kernels of quant/. */
#include "matrix.h"

#include <stdlib.h>

enum {
    CHUNK_BYTES =
        128 << 10,   /* of weights: long enough to stream, short enough to share */
    CHUNK_ROWS = 16, /* chunks are whole multiples of this */
    TOKEN_TILE =
        STREAM_TOKENS,        /* in one call of a kernel: their activations stay in L2 */
    LEAST_STRETCH = 96 << 10, /* bytes */
};

bool matrix_init(struct matrix *m, uint32_t type, const void *data, uint32_t n,
                 uint32_t rows, bool exact)
{
    const enum act_kind act = act_kind_of(type, exact);
    *m = (struct matrix){
        .data = data,
        .type = type,
        .n = n,
        .rows = rows,
        .row_bytes = ggf_row_bytes(type, n),
        .act = act,
        .mul = mul_for(type, act),
        .scale = 1,
    };
    return m->mul;
}

size_t acts_bytes(unsigned kinds, uint32_t n, size_t tokens)
{
    size_t sum = 0;
    for (int k = 0; k < ACT_KINDS; k++)
        if (kinds >> k & 1) sum += act_bytes((enum act_kind)k, n) * tokens;
    return sum;
}

void acts_place(struct acts *a, void *memory, unsigned kinds, uint32_t n, size_t tokens)
{
    uint8_t *p = memory;
    *a = (struct acts){ .n = n };
    for (int k = 0; k < ACT_KINDS; k++) {
        if (!(kinds >> k & 1)) continue;
        a->data[k] = p;
        a->stride[k] = act_bytes((enum act_kind)k, n);
        p += a->stride[k] * tokens;
    }
}

void acts_encode(const struct acts *a, unsigned kinds, size_t t, const float *x)
{
    for (int k = 0; k < ACT_KINDS; k++)
        if (kinds >> k & 1)
            act_encode((enum act_kind)k, x, a->n, a->data[k] + t * a->stride[k]);
}

void matrix_mul(const struct matrix *m, uint32_t row, uint32_t rows, const struct acts *x,
                size_t token, size_t tokens, float *y, size_t y_stride)
{
    const size_t stride = x->stride[m->act];
    m->mul(y, y_stride, m->data + row * m->row_bytes, m->row_bytes, rows,
           x->data[m->act] + token * stride, stride, tokens, m->n);
    if (m->scale == 1.0f) return;
    for (size_t t = 0; t < tokens; t++)
        for (uint32_t r = 0; r < rows; r++) y[t * y_stride + r] *= m->scale;
}

/* Rows that make a good piece of work: some tens of kilobytes of weights. */
static uint32_t chunk_rows(const struct matrix *m)
{
    const size_t rows = CHUNK_BYTES / m->row_bytes / CHUNK_ROWS * CHUNK_ROWS;
    return rows < CHUNK_ROWS ? CHUNK_ROWS : (uint32_t)rows;
}

uint64_t matrix_groups(uint32_t rows)
{
    return ((uint64_t)rows + GROUP_ROWS - 1) / GROUP_ROWS;
}

uint64_t matrix_least_stretch(const struct matrix *m)
{
    return LEAST_STRETCH / (GROUP_ROWS * m->row_bytes) + 1;
}

struct matrix_rows matrix_in_stretch(uint32_t rows, struct stretch *s)
{
    const uint64_t groups = matrix_groups(rows);
    if (s->first >= groups) {
        s->first -= groups;
        return (struct matrix_rows){ 0 };
    }
    const uint64_t n = s->n < groups - s->first ? s->n : groups - s->first;
    const uint32_t row = (uint32_t)s->first * GROUP_ROWS;
    const uint64_t most = n * GROUP_ROWS, left = rows - row;
    *s = (struct stretch){ 0, s->n - n };
    return (struct matrix_rows){ row, (uint32_t)(most < left ? most : left) };
}

bool linear_add(struct linear *l, const struct matrix *m, uint32_t out)
{
    struct linear_part *parts = realloc(l->parts, (l->n_parts + 1) * sizeof *parts);
    if (!parts) return false;
    l->parts = parts;
    parts[l->n_parts++] = (struct linear_part){ *m, out };
    l->n = m->n;
    l->kinds |= 1u << m->act;
    if (l->width < out + m->rows) l->width = out + m->rows;
    return true;
}

bool linear_plan(struct linear *l)
{
    l->n_chunks = 0;
    for (uint32_t p = 0; p < l->n_parts; p++) {
        const uint32_t chunk = chunk_rows(&l->parts[p].m);
        l->n_chunks += (l->parts[p].m.rows + chunk - 1) / chunk;
    }
    l->chunks = calloc(l->n_chunks, sizeof *l->chunks);
    if (!l->chunks) return false;
    struct linear_chunk *c = l->chunks;
    for (uint32_t p = 0; p < l->n_parts; p++) {
        const uint32_t rows = l->parts[p].m.rows, chunk = chunk_rows(&l->parts[p].m);
        for (uint32_t r = 0; r < rows; r += chunk)
            *c++ = (struct linear_chunk){ p, r, rows - r < chunk ? rows - r : chunk };
    }
    return true;
}

void linear_free(struct linear *l)
{
    free(l->parts);
    free(l->chunks);
    *l = (struct linear){ 0 };
}

/* Few tokens: stretches of rows, across the parts. */
static void linear_stretches(const struct member *me, const struct linear *l,
                             const struct acts *x, size_t tokens, float *y,
                             size_t y_stride)
{
    uint64_t groups = 0;
    for (uint32_t p = 0; p < l->n_parts; p++) groups += matrix_groups(l->parts[p].m.rows);
    const uint64_t least = matrix_least_stretch(&l->parts[0].m);
    for (struct stretch s; team_next_stretch(me, groups, least, &s);)
        for (const struct linear_part *p = l->parts; s.n; p++) {
            const struct matrix_rows rows = matrix_in_stretch(p->m.rows, &s);
            if (rows.n)
                matrix_mul(&p->m, rows.first, rows.n, x, 0, tokens,
                           y + p->out + rows.first, y_stride);
        }
}

void linear_team(const struct member *me, const struct linear *l, const struct acts *x,
                 size_t tokens, float *y, size_t y_stride)
{
    if (tokens <= STREAM_TOKENS) {
        linear_stretches(me, l, x, tokens, y, y_stride);
        return;
    }
    for (uint64_t i; team_next(me, l->n_chunks, &i);) {
        const struct linear_chunk *c = &l->chunks[i];
        const struct linear_part *p = &l->parts[c->part];
        for (size_t t = 0; t < tokens; t += TOKEN_TILE) {
            const size_t n = tokens - t < TOKEN_TILE ? tokens - t : TOKEN_TILE;
            matrix_mul(&p->m, c->row, c->rows, x, t, n,
                       y + t * y_stride + p->out + c->row, y_stride);
        }
    }
}
