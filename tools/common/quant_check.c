/* quant_check.c - see quant_check.h. */
#include "quant_check.h"

#include "quant_matrix.h"
#include "../../quant/tensor_check.h"

#include <inttypes.h>
#include <string.h>

struct check {
    const struct quant_args *args;
    ggf_file *source, *other;
    imatrix *matrix;
    const struct ggf_tensor *here, *there;
    const struct imatrix_entry *weights;
};

static int find(const struct ggf_tensor **out, const ggf_file *f, const char *path,
                const char *name, ggf_error *err)
{
    for (uint64_t i = 0; i < ggf_tensor_count(f); i++) {
        *out = ggf_tensor(f, i);
        if (!strcmp((*out)->name, name)) return 0;
    }
    return ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET, "%s has no tensor '%s'", path,
                    name);
}

static int open_all(struct check *c, ggf_error *err)
{
    const struct quant_args *a = c->args;
    const struct ggf_open_options gaps = { .allow_gaps = true };
    int s = ggf_open(&c->source, a->input, &gaps, err);
    if (!s) s = ggf_open(&c->other, a->output, &gaps, err);
    if (!s) s = find(&c->here, c->source, a->input, a->compare, err);
    if (!s) s = find(&c->there, c->other, a->output, a->compare, err);
    if (!s) s = quant_open_matrix(&c->matrix, a, c->source, err);
    const struct plan_options o = { .matrix = c->matrix };
    return s ? s : plan_importances(&c->weights, c->here, &o, err);
}

static void print_text(const struct check *c, const struct tensor_check *r)
{
    printf("%s, %s from %s, %s importances\n", c->args->compare,
           ggf_type_name(c->there->type), ggf_type_name(c->here->type),
           c->weights ? "with" : "without");
    if (r->bytes_different)
        printf("bytes       %" PRIu64 ", %" PRIu64 " differ, in %" PRIu64 " of %" PRIu64
               " blocks\n",
               r->bytes, r->bytes_different, r->blocks_different, r->blocks);
    else printf("bytes       %" PRIu64 ", all equal\n", r->bytes);
    printf("error here  %.6e\nerror there %.6e", r->error_here, r->error_there);
    if (r->bytes_different && r->error_here > 0)
        printf(" (%+.2f %%)", 100 * (r->error_there / r->error_here - 1));
    putchar('\n');
}

static void print_json(const struct check *c, const struct tensor_check *r)
{
    struct json j = { .f = stdout };
    json_open(&j, NULL, '{');
    json_str(&j, "tensor", c->args->compare);
    json_str(&j, "source", c->args->input);
    json_str(&j, "existing", c->args->output);
    json_str(&j, "from", ggf_type_name(c->here->type));
    json_str(&j, "type", ggf_type_name(c->there->type));
    json_bool(&j, "importances", c->weights != NULL);
    json_bool(&j, "equal", !r->bytes_different);
    json_u64(&j, "bytes", r->bytes);
    json_u64(&j, "bytes_different", r->bytes_different);
    json_u64(&j, "blocks", r->blocks);
    json_u64(&j, "blocks_different", r->blocks_different);
    json_f64(&j, "error_here", r->error_here);
    json_f64(&j, "error_there", r->error_there);
    json_close(&j, '}');
    json_end(&j);
}

int quant_check_tensor(const struct quant_args *a, ggf_error *err)
{
    struct check c = { .args = a };
    struct tensor_check r;
    int s = open_all(&c, err);
    if (!s)
        s = tensor_check(&r, c.here, c.there, c.weights, a->compat, a->refine, a->threads,
                         err);
    if (!s && a->json) print_json(&c, &r);
    else if (!s) print_text(&c, &r);
    imatrix_close(c.matrix);
    ggf_close(c.other);
    ggf_close(c.source);
    return s;
}
