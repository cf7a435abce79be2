/* kvopt.c - see kvopt.h. */
#include "kvopt.h"

bool kv_type_of(const char *name, uint32_t *type)
{
    const int id = ggf_type_from_name(name);
    if (id < 0 || !q3n_kv_type((uint32_t)id)) return false;
    *type = (uint32_t)id;
    return true;
}

static int type_of(const struct opt_program *program, const char *option,
                   const char *name, uint32_t *type)
{
    if (!name || kv_type_of(name, type)) return OPT_GO;
    return opt_error(program,
                     "%s %s: expected f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or "
                     "iq4_nl",
                     option, name);
}

int kv_options(const struct opt_program *program, const struct kv_options *o,
               uint32_t otherwise, struct q3n_session_options *out)
{
    out->type_k = out->type_v = otherwise;
    const int r = type_of(program, "-ctk", o->k, &out->type_k);
    return r == OPT_GO ? type_of(program, "-ctv", o->v, &out->type_v) : r;
}
