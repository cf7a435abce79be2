/* observe.c - see observe.h. */
#include "observe.h"

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
