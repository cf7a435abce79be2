/* linear.cu - matrices that multiply the same activations, in one launch. */
#include "product.cuh"
#include "unpack.cuh"

/* Up to two tiles of few columns: more rows at a time are worth reading weights twice. */
enum { FEW_TOKENS = 2 * FEW_COLUMNS };

/* Is it all for product_floats()? */
static bool all_floats(const struct gpu_linear *l)
{
    for (uint32_t i = 0; i < l->n_parts; i++) {
        const struct gpu_matrix *m = &l->parts[i].m;
        if (!is_floats(m->type) || m->rows < FLOATS_SIDE) return false;
    }
    return true;
}

static void linear(gpu *g, const struct gpu_linear *l, const struct gpu_acts *x,
                   float *y_d, size_t y_stride, const struct product_tail *tail)
{
    const bool few = x->tokens <= FEW_TOKENS, several = x->tokens > 1;
    const bool floats = !few && all_floats(l);
    struct product p = {};
    uint32_t blocks = 0;
    for (uint32_t i = 0; i < l->n_parts; i++) {
        const struct gpu_matrix *m = &l->parts[i].m;
        p.matrices[i] = { (const uint8_t *)m->data_d,
                          m->row_bytes,
                          m->type,
                          m->n,
                          m->rows,
                          l->parts[i].out,
                          m->scale,
                          blocks,
                          (uint32_t)row_bytes_of(m->type, ACT_BLOCK) };
        const uint32_t float_rows = floats ? (uint32_t)FLOATS_ROWS
                                    : few  ? (uint32_t)FEW_FLOAT_ROWS
                                           : (uint32_t)MANY_FLOAT_ROWS;
        blocks += is_floats(m->type) ? div_up(m->rows, float_rows)
                  : few              ? few_shape_of(m->n, m->rows, several).blocks
                                     : div_up(m->rows, MANY_ROWS);
    }
    p.grids = g->tables_d;
    p.q = (const struct act_block *)x->q_d;
    p.x = x->x_d;
    p.act_stride = act_stride(l->n);
    p.x_stride = l->n;
    p.y = y_d;
    p.y_stride = y_stride;
    p.columns = x->tokens;
    p.several = several;
    p.few[0] = few_shape_of(l->n, 1, several);
    p.n_matrices = l->n_parts;
    if (tail) p.tail = *tail;
    p.tail.counter = g->counters_d;
    if (floats) {
        product_floats(g, &p, blocks);
        return;
    }
    p.tile_columns = few ? (uint32_t)FEW_COLUMNS : many_columns(g, x->tokens, blocks);
    const uint32_t tiles = div_up(x->tokens, p.tile_columns);
    if (few) product_few(g, &p, tiles, blocks);
    else product_many(g, &p, tiles, blocks);
}

void gpu_linear(gpu *g, const struct gpu_linear *l, const struct gpu_acts *x, float *y_d,
                size_t y_stride)
{
    linear(g, l, x, y_d, y_stride, NULL);
}

void gpu_linear_norm(gpu *g, const struct gpu_linear *l, const struct gpu_acts *acts,
                     float *y_d, float *x_d, const struct gpu_norm_to *to)
{
    struct product_tail tail = {};
    const bool once = acts->tokens <= TAIL_TOKENS;
    tail.what = product_tail::TAIL_NORM;
    tail.n = l->width;
    tail.x = x_d;
    tail.norm = *to;
    linear(g, l, acts, y_d, l->width, once ? &tail : NULL);
    if (!once) gpu_norm(g, x_d, y_d, l->width, acts->tokens, to);
}

void gpu_linear_route(gpu *g, const struct gpu_linear *l, const struct gpu_acts *acts,
                      float *y_d, uint32_t n_used, uint32_t *ids_d, float *weights_d)
{
    struct product_tail tail = {};
    const bool once = acts->tokens <= TAIL_TOKENS && l->width <= TAIL_EXPERTS;
    tail.what = product_tail::TAIL_ROUTE;
    tail.n = l->width;
    tail.n_used = n_used;
    tail.ids = ids_d;
    tail.weights = weights_d;
    linear(g, l, acts, y_d, l->width, once ? &tail : NULL);
    if (!once) gpu_route(g, y_d, l->width, n_used, acts->tokens, ids_d, weights_d);
}
