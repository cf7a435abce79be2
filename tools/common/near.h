/* near.h - which known words a misspelt one may stand for. */
#ifndef TOOLS_NEAR_H
#define TOOLS_NEAR_H

/* Edit distance of two words of at most 24 bytes, case ignored; 24 if one is longer. */
int near_distance(const char *x, const char *y);

#endif
