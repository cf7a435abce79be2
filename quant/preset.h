/* preset.h - mixtures for mixture-of-experts models after Unsloth's dynamic files
 * ("UD-Q4_K_XL"): one type for each class of tensors, more bits in a few layers.
 *
 * The type of a tensor is what its class says here; what the user demands, what cannot be
 * quantized and rows that do not fit are mix.h's business. */
#ifndef QUANT_PRESET_H
#define QUANT_PRESET_H

#include "mix.h"

struct preset {
    const char *name;
    uint32_t file_type; /* enum file_type_id: what general.file_type says */
    /* enum ggf_type of the routed experts; high: in one early layer (gate, up), in two
     * early layers, one past the middle and the last two (down). */
    uint32_t gate_up, down, high_gate_up, high_down;
    uint32_t embedding, output; /* token_embd, output */
    uint32_t dense;             /* attention, delta rule, shared experts, dense layers */
    const char *about;
};

/* All of them, largest first; the list ends with a NULL name. */
extern const struct preset presets[];

/* By name in any case; NULL if there is none. */
const struct preset *preset_find(const char *name);

/* The type for a tensor.  In a model without experts the feed-forward tensors take their
 * place.  `tied`: there is no output.weight, the embedding serves as head. */
uint32_t preset_type(const struct preset *preset, const struct mix_model *model,
                     const char *name, bool tied);

#endif
