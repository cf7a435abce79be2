/* codebook.cuh - what the codes of some types are looked up in: which part of
 * grid_tables, and where it is. */
#ifndef INFER_GPU_CODEBOOK_CUH
#define INFER_GPU_CODEBOOK_CUH

#include <stddef.h>

#include "device.cuh"
#include "tables.h"

/* What codes() of a type looks up: so many words, from word `at` of grid_tables on. */
template <uint32_t type> struct codebook {
    enum { at = 0, words = 0 };
};

/* Where they are. */
template <bool shared> struct book {
    const uint32_t *words;
    __device__ uint32_t word(uint32_t i) const
    {
        return shared ? words[i] : read(words + i);
    }
    __device__ uint2 two(uint32_t i) const /* words 2 i and 2 i + 1 */
    {
        const uint2 *const at = (const uint2 *)words + i;
        return shared ? *at : read(at);
    }
};
template <uint32_t type>
static inline __device__ struct book<false> global_book(
    const struct grid_tables *tables) {
    return { (const uint32_t *)tables + codebook<type>::at };
}

/* The words that a block of threads copies to shared memory: lanes that look up different
 * ones wait less for each other there.  Not worth it are few words, which stay in
 * registers, and the 16 KiB of IQ1, more than the block has of weights. */
template <uint32_t type>
struct shared_book {
    enum {
        words = codebook<type>::words > 4 && codebook<type>::words <= 2048
                    ? codebook<type>::words
                    : 0
    };
};

#define CODEBOOK(type, name)                                                             \
    template <> struct codebook<type> {                                                  \
        enum {                                                                           \
            at = offsetof(struct grid_tables, name) / 4,                                 \
            words = sizeof(((struct grid_tables *)0)->name) / 4                          \
        };                                                                               \
    }
CODEBOOK(GGF_IQ4_NL, iq4_nl);
CODEBOOK(GGF_IQ4_XS, iq4_nl);
CODEBOOK(GGF_MXFP4, fp4);
CODEBOOK(GGF_IQ2_XXS, iq2_xxs);
CODEBOOK(GGF_IQ2_XS, iq2_xs);
CODEBOOK(GGF_IQ2_S, iq2_s);
CODEBOOK(GGF_IQ3_XXS, iq3_xxs);
CODEBOOK(GGF_IQ3_S, iq3_s);
CODEBOOK(GGF_IQ1_S, iq1);
CODEBOOK(GGF_IQ1_M, iq1);
#undef CODEBOOK

#endif
