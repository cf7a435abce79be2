/* quant_pack.h - gguf-quant --expert-pack: types for each expert, chosen for a size,
 * shown and carried out. */
#ifndef TOOLS_QUANT_PACK_H
#define TOOLS_QUANT_PACK_H

#include "quant_job.h"
#include "../../quant/quantize_pack.h"

struct quant_pack {
    struct expert_budget budget;
    struct target_result target; /* the table, what is predicted, time spent */
    struct provenance provenance;
    uint64_t dense_bytes, pack_bytes; /* of the files */
};

/* With the plan made: choose types, then show them or write both files. */
int quant_pack_follow(struct quant_job *job, ggf_error *err);

/* ---- quant_pack_print.c */

/* What was chosen, dense tensors and experts, as text or JSON on stdout. */
void quant_pack_print(const struct quant_job *job, const struct quant_pack *pack);
void quant_pack_json(const struct quant_job *job, const struct quant_pack *pack);
/* Sizes, cost, bound and gap. */
void quant_pack_totals(FILE *f, const struct quant_job *job,
                       const struct quant_pack *pack);

#endif
