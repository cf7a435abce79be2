/* modelopt.c - see modelopt.h. */
#include "modelopt.h"

int model_options(const struct opt_program *program, const struct model_options *o,
                  struct q3n_model_options *out)
{
    if (!o->path) return opt_error(program, "-m MODEL.gguf is missing");
    if (o->ubatch != OPT_NOT_GIVEN && o->ubatch < 1)
        return opt_error(program, "--ubatch-size must be 1 or more");
    if (o->threads != OPT_NOT_GIVEN && (o->threads < 1 || o->threads > 1024))
        return opt_error(program, "--threads must be 1 to 1024");
    out->experts = o->experts;
    out->threads = o->threads == OPT_NOT_GIVEN ? 0 : o->threads;
    out->exact = o->exact;
    out->mlock = o->mlock;
    out->no_mmap = o->no_mmap;
    return OPT_GO;
}

uint32_t model_ubatch(const struct model_options *o)
{
    return o->ubatch == OPT_NOT_GIVEN ? 512 : (uint32_t)o->ubatch;
}
