/* observe.c - see observe.h. */
#include "observe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *const observed_weights[OBSERVED_PLACES][OBSERVED_WEIGHTS] = {
    [OBSERVED_MIXER] = { "attn_qkv", "attn_gate", "attn_q", "attn_k", "attn_v", "ssm_in",
                         "ssm_ba" },
    [OBSERVED_MIXER_OUT] = { "attn_output", "ssm_out" },
    [OBSERVED_FFN] = { "ffn_gate_inp", "ffn_gate_inp_shexp", "ffn_gate_shexp",
                       "ffn_up_shexp" },
    [OBSERVED_SHARED_DOWN] = { "ffn_down_shexp" },
    [OBSERVED_EXPERTS] = { "ffn_gate_exps", "ffn_up_exps", "ffn_gate_up_exps" },
    [OBSERVED_DOWN] = { "ffn_down_exps" },
};

bool observed_place_of(const char *tensor, uint32_t *layer, enum observed_place *place)
{
    char part[32], whole[64];
    *layer = 0;
    *place = OBSERVED_HEAD;
    if (!strcmp(tensor, "output.weight")) return true;
    if (sscanf(tensor, "blk.%" SCNu32 ".%31[a-z_]", layer, part) != 2) return false;
    snprintf(whole, sizeof whole, "blk.%" PRIu32 ".%s.weight", *layer, part);
    if (strcmp(tensor, whole) != 0) return false;
    for (int p = 0; p < OBSERVED_PLACES; p++)
        for (int i = 0; i < OBSERVED_WEIGHTS && observed_weights[p][i]; i++)
            if (!strcmp(part, observed_weights[p][i])) {
                *place = (enum observed_place)p;
                return true;
            }
    return false;
}

uint32_t observe_pieces(uint32_t n)
{
    return (n + OBSERVED_COLUMNS - 1) / OBSERVED_COLUMNS;
}

void observe_piece(const struct observer *observer, struct observed o, uint32_t piece)
{
    o.column = piece * OBSERVED_COLUMNS;
    o.columns =
        o.n - o.column < OBSERVED_COLUMNS ? o.n - o.column : (uint32_t)OBSERVED_COLUMNS;
    observer->see(observer->user, &o);
}

void observe_team(const struct member *me, const struct observer *observer,
                  const struct observed *o)
{
    if (!observer) return;
    for (uint64_t i; team_next(me, observe_pieces(o->n), &i);)
        observe_piece(observer, *o, (uint32_t)i);
}
