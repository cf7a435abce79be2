/* near.h - which known words a misspelt one may stand for. */
#ifndef TOOLS_NEAR_H
#define TOOLS_NEAR_H

#include <stddef.h>

/* Edit distance of two words of at most 24 bytes, case ignored; 24 if one is longer. */
int near_distance(const char *x, const char *y);

/* For a word that is none of those that name_at() lists, which ends with NULL: "near it:
 * a, b", or else "known are" and all of them.  Near are those that two letters more,
 * fewer or others make of it, and those that contain it. */
void near_suggest(char *out, size_t size, const char *word,
                  const char *(*name_at)(size_t));

#endif
