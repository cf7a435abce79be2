/* quant_pack_print.c - gguf-quant --expert-pack: what was chosen, as text and as JSON. */
#include "out.h"
#include "quant_pack.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Experts by how much their layer uses them: the fewest that see half of it, the most
 * that see a tenth together, and the rest. */
enum heat { HOT, WARM, COLD, HEATS };
static const char *const heat_names[HEATS] = { "hot", "warm", "cold" };

/* Types of some experts: gate and up, down. */
enum { GATE_UP, DOWN, SIDES };
static const char *const side_names[SIDES] = { "gate_up", "down" };

struct tally {
    uint64_t experts, unseen;
    double use;
    uint64_t count[SIDES][GGF_TYPE_COUNT];
    uint64_t bytes[SIDES], weights[SIDES];
};

/* ---- Counting -------------------------------------------------------------------- */

static void add(struct tally *t, const struct expert_budget *b, uint32_t layer,
                uint64_t record)
{
    const struct ggf_pack_layer *s = &b->layers[layer].layer.shape;
    t->experts++;
    t->use += b->shares.use[record] / b->n_layers;
    t->unseen += b->shares.counted && !b->shares.tokens[record];
    for (int p = 0; p < GGF_PARTS; p++) {
        const int side = p == GGF_DOWN ? DOWN : GATE_UP;
        const uint32_t type = b->types[record][p];
        const uint64_t row = p == GGF_DOWN ? s->n_ff : s->n_embd;
        t->bytes[side] += ggf_row_bytes(type, row) * (s->n_embd * s->n_ff / row);
        t->weights[side] += s->n_embd * s->n_ff;
        if (p != GGF_UP || type != b->types[record][GGF_GATE]) t->count[side][type]++;
    }
}

struct used {
    double use;
    uint64_t record;
};

static int compare_use(const void *a, const void *b)
{
    const struct used *x = a, *y = b;
    if (x->use != y->use) return x->use > y->use ? -1 : 1;
    return (x->record > y->record) - (x->record < y->record);
}

/* Add the experts of a layer to the tallies of their heat.  False: out of memory. */
static bool sort_layer(struct tally heats[HEATS], const struct expert_budget *b,
                       uint32_t layer, uint64_t first)
{
    const uint32_t n = b->layers[layer].layer.shape.n_expert;
    struct used *list = calloc(n, sizeof *list);
    if (!list) return false;
    for (uint32_t e = 0; e < n; e++)
        list[e] = (struct used){ b->shares.use[first + e], first + e };
    qsort(list, n, sizeof *list, compare_use);
    double before = 0;
    for (uint32_t e = 0; e < n; e++) {
        const enum heat heat = before < 0.5 ? HOT : before < 0.9 ? WARM : COLD;
        add(&heats[heat], b, layer, list[e].record);
        before += list[e].use;
    }
    free(list);
    return true;
}

static void tally_heats(struct tally heats[HEATS], const struct expert_budget *b)
{
    uint64_t first = 0;
    memset(heats, 0, HEATS * sizeof *heats);
    for (uint32_t l = 0; l < b->n_layers; l++) {
        if (!sort_layer(heats, b, l, first)) return;
        first += b->layers[l].layer.shape.n_expert;
    }
}

static void tally_layer(struct tally *t, const struct expert_budget *b, uint32_t layer)
{
    uint64_t first = 0;
    for (uint32_t l = 0; l < layer; l++) first += b->layers[l].layer.shape.n_expert;
    *t = (struct tally){ 0 };
    for (uint32_t e = 0; e < b->layers[layer].layer.shape.n_expert; e++)
        add(t, b, layer, first + e);
}

static double bits(const struct tally *t, int side)
{
    return t->weights[side] ? 8 * (double)t->bytes[side] / (double)t->weights[side] : 0;
}

/* ---- Text ------------------------------------------------------------------------ */

static void print_counts(const struct tally *t, int side)
{
    const char *comma = "";
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++) {
        if (!t->count[side][type]) continue;
        printf("%s%" PRIu64 " %s", comma, t->count[side][type], ggf_type_name(type));
        comma = ", ";
    }
}

static void print_dense(const struct quant_job *job, const struct quant_pack *pack)
{
    printf("%-36s %-8s %7s %15s %11s %8s %11s\n", "tensor", "type", "bits", "bytes",
           "error", "+-", "cost");
    for (size_t i = 0; i < job->plan.n_items; i++) {
        const struct plan_item *item = &job->plan.items[i];
        const struct budget_item *b = &pack->budget.items[i];
        if (!b->open || expert_budget_packs(&pack->budget, i)) continue;
        printf("%-36s %-8s %7.4f %15" PRIu64 " %11.4e %7.2f%% %11.4e\n", item->name,
               ggf_type_name(item->type),
               8 * (double)item->bytes / (double)item->source->count, item->bytes,
               b->error, 100 * b->spread, b->error * b->weight);
    }
}

static void print_experts(const struct expert_budget *b)
{
    struct tally heats[HEATS];
    printf("\nblock  experts' gate and up; down\n");
    for (uint32_t l = 0; l < b->n_layers; l++) {
        struct tally t;
        tally_layer(&t, b, l);
        printf("%5" PRIu32 "  ", b->layers[l].layer.shape.block);
        print_counts(&t, GATE_UP);
        printf("; ");
        print_counts(&t, DOWN);
        printf("\n");
    }
    printf("\n%-5s %8s %7s %7s  %9s %6s  %s\n", "use", "experts", "unseen", "share",
           "gate, up", "down", "types of gate and up; of down");
    tally_heats(heats, b);
    for (int h = 0; h < HEATS; h++) {
        printf("%-5s %8" PRIu64 " %7" PRIu64 " %5.1f %%  %9.4f %6.4f  ", heat_names[h],
               heats[h].experts, heats[h].unseen, 100 * heats[h].use,
               bits(&heats[h], GATE_UP), bits(&heats[h], DOWN));
        print_counts(&heats[h], GATE_UP);
        printf("; ");
        print_counts(&heats[h], DOWN);
        printf("\n");
    }
    printf("\n");
}

void quant_pack_print(const struct quant_job *job, const struct quant_pack *pack)
{
    if (!job->args->quiet) {
        print_dense(job, pack);
        print_experts(&pack->budget);
    }
    quant_pack_totals(stdout, job, pack);
}

static double gap(const struct knapsack_result *k)
{
    return k->cost > k->bound ? k->cost - k->bound : 0;
}

void quant_pack_totals(FILE *f, const struct quant_job *job,
                       const struct quant_pack *pack)
{
    const struct knapsack_result *k = &pack->budget.solution;
    const uint64_t both = pack->dense_bytes + pack->pack_bytes;
    const struct target *t = &job->args->target;
    fprintf(f,
            "files       = %" PRIu64 " bytes dense and %" PRIu64
            " of experts, together %" PRIu64,
            pack->dense_bytes, pack->pack_bytes, both);
    if (t->size)
        fprintf(f, ", %.3f %% of the target", 100 * (double)both / (double)t->size);
    fprintf(
        f,
        "\ncost        = %.6e, no choice of this size below %.6e (gap %.3f %%; %" PRIu64
        " choices)\n",
        k->cost, k->bound, k->cost > 0 ? 100 * gap(k) / k->cost : 0,
        pack->budget.n_choices);
    fprintf(f, "measured    = %" PRIu64 " weights in %.1f s\n",
            error_table_sampled(&pack->target.table) + pack->budget.shares.sampled,
            pack->target.seconds);
    target_print_prediction(f, &pack->target);
}

/* ---- JSON ------------------------------------------------------------------------ */

static void json_tally(struct json *j, const struct tally *t)
{
    json_u64(j, "experts", t->experts);
    json_u64(j, "unseen", t->unseen);
    for (int side = 0; side < SIDES; side++) {
        json_open(j, side_names[side], '{');
        json_f64(j, "bits_per_weight", bits(t, side));
        json_open(j, "types", '{');
        for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++)
            if (t->count[side][type])
                json_u64(j, ggf_type_name(type), t->count[side][type]);
        json_close(j, '}');
        json_close(j, '}');
    }
}

static void json_dense(struct json *j, const struct quant_job *job,
                       const struct quant_pack *pack)
{
    json_open(j, "tensors", '[');
    for (size_t i = 0; i < job->plan.n_items; i++) {
        const struct plan_item *item = &job->plan.items[i];
        if (expert_budget_packs(&pack->budget, i)) continue;
        json_open(j, NULL, '{');
        json_str(j, "name", item->name);
        json_str(j, "from", ggf_type_name(item->source->type));
        json_str(j, "to", ggf_type_name(item->type));
        json_u64(j, "bytes", item->bytes);
        target_json_item(j, &pack->budget.items[i]);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void json_experts(struct json *j, const struct expert_budget *b)
{
    struct tally heats[HEATS];
    json_open(j, "layers", '[');
    for (uint32_t l = 0; l < b->n_layers; l++) {
        struct tally t;
        tally_layer(&t, b, l);
        json_open(j, NULL, '{');
        json_u64(j, "block", b->layers[l].layer.shape.block);
        json_tally(j, &t);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_open(j, "use", '{');
    tally_heats(heats, b);
    for (int h = 0; h < HEATS; h++) {
        json_open(j, heat_names[h], '{');
        json_f64(j, "share", heats[h].use);
        json_tally(j, &heats[h]);
        json_close(j, '}');
    }
    json_close(j, '}');
}

void quant_pack_json(const struct quant_job *job, const struct quant_pack *pack)
{
    const struct quant_args *a = job->args;
    const struct knapsack_result *k = &pack->budget.solution;
    struct json j = { .f = stdout };
    json_open(&j, NULL, '{');
    json_str(&j, "input", a->input);
    json_str(&j, "output", a->output);
    json_str(&j, "pack", a->pack_path);
    json_dense(&j, job, pack);
    json_experts(&j, &pack->budget);
    if (a->target.size) json_u64(&j, "target_bytes", a->target.size);
    else json_f64(&j, "target_bits_per_weight", (double)a->target.bpw);
    json_u64(&j, "dense_bytes", pack->dense_bytes);
    json_u64(&j, "pack_bytes", pack->pack_bytes);
    json_f64(&j, "cost", k->cost);
    json_f64(&j, "cost_bound", k->bound);
    json_f64(&j, "dual_gap", gap(k));
    json_u64(&j, "choices", pack->budget.n_choices);
    json_f64(&j, "seconds", pack->target.seconds);
    target_json_prediction(&j, &pack->target);
    json_close(&j, '}');
    json_end(&j);
}
