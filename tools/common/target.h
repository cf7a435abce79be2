/* target.h - gguf-quant's --target-size and --target-bpw: from a size on the command line
 * to a plan, and what is printed about it. */
#ifndef TOOLS_TARGET_H
#define TOOLS_TARGET_H

#include "out.h"
#include "probe.h"
#include "sens.h"
#include "../../quant/compare.h"
#include "../../quant/quantize.h"

struct target {
    uint64_t size; /* bytes of the finished file; 0: not given */
    float bpw;     /* or bits of tensor data for each weight; 0: not given */
    enum budget_kind kind;
    bool quiet, compare; /* compare: fill in the comparison */
    struct probe probe;
};

/* The outcome. */
struct target_result {
    struct budget budget;
    struct error_table table; /* of the plan's items */
    struct comparison comparison;
    uint64_t file_bytes;
    double seconds; /* spent on measuring and choosing */
    struct probe_result probe;
    bool probed;                 /* there was one */
    struct prediction predicted; /* divergence of the plan; NaN if not known */
};

/* Choose the types of a plan that plan_check() found good; `given` may be NULL.  A target
 * that cannot be reached fails with the smallest size that can. */
int target_choose(struct target_result *r, const struct target *target, const sens *sens,
                  const ggf_file *file, struct plan *plan,
                  const struct plan_options *plan_options,
                  const struct quantize_options *options, ggf_error *err);
/* For a plan whose types are not ours to choose: measure and probe, to predict. */
int target_price(struct target_result *r, const struct target *target,
                 const ggf_file *file, const struct plan *plan,
                 const struct plan_options *plan_options, int threads, ggf_error *err);
void target_free(struct target_result *r);

/* ---- Parts of that, for choices that go deeper than tensors (quant_pack.h) */

/* The table, with the weights of this model if there is a probe, else the published or
 * those given.  Nothing is measured but what the probe needs. */
int target_measure(struct target_result *r, struct predict *predict,
                   const struct target *target, const sens *sens, const ggf_file *file,
                   const struct plan *plan, const struct plan_options *plan_options,
                   const struct budget_options *options, ggf_error *err);
/* From a cost by that table and its standard error to the divergence. */
void target_predict(struct target_result *r, const struct predict *predict, double cost,
                    double spread);

/* A line for each tensor chosen: type, bits, bytes, error. */
void target_print_items(FILE *f, const struct target_result *r, const struct plan *plan);
/* What divergence to expect, and by what knowledge; nothing if it is not known. */
void target_print_prediction(FILE *f, const struct target_result *r);
/* Size, cost, bound and gap. */
void target_print_totals(FILE *f, const struct target_result *r,
                         const struct target *target);
/* How far the cost may be above the least that there is. */
double target_gap(const struct target_result *r);
/* The comparison, a line for each. */
void target_print_comparison(FILE *f, const struct target_result *r,
                             const struct plan *plan);
/* The same as keys of the object that is open. */
void target_json_item(struct json *j, const struct budget_item *item);
void target_json_totals(struct json *j, const struct target_result *r,
                        const struct target *target);
void target_json_prediction(struct json *j, const struct target_result *r);

#endif
