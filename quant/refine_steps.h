/* refine_steps.h - the kernel of refine.c: multiples of d and dmin for sub-blocks.
 *
 * A weight is stored as d * scale * level - dmin * min; the level of a code is the code,
 * but for IQ4_XS.  As in lanes.h a vector has a sub-block in each lane and adds in the
 * order of elements, so the bits are those of plain C. */
#ifndef QUANT_REFINE_STEPS_H
#define QUANT_REFINE_STEPS_H

#include <stdbool.h>

enum { REFINE_SUBS = 16 }; /* sub-blocks at once: a super-block or two */

/* What a type can store. */
struct refine_format {
    int n;                     /* weights in a sub-block, 16 or 32 */
    int low, high;             /* codes */
    int scale_low, scale_high; /* multiples of d */
    int min_high;              /* and of dmin, from 0; 0: there is none */
    bool uneven;               /* the levels of IQ4 */
};

struct refine_subs {
    float d[REFINE_SUBS], dmin[REFINE_SUBS];    /* of the super-block that each lies in */
    float scale[REFINE_SUBS], min[REFINE_SUBS]; /* the multiples, whole numbers */
    /* Of these: the error, and sums of w, w l, w l^2, w x, w x l for levels l. */
    float error[REFINE_SUBS], w[REFINE_SUBS], wl[REFINE_SUBS], wll[REFINE_SUBS],
        wx[REFINE_SUBS], wxl[REFINE_SUBS];
};

/* Replace scale and min of `subs` sub-blocks of x, with weights w, by the best within
 * `radius` of them, and fill in the rest.  Of equals the first counts. */
#define decl_refine_fn(name)                                                             \
    void(name)(const float *x, const float *w, int subs,                                 \
               const struct refine_format *format, int radius, struct refine_subs *s)
typedef decl_refine_fn(*refine_fn);

/* The variant in force. */
refine_fn refine_steps(void);

#endif
