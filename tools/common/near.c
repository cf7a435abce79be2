/* near.c - see near.h. */
#include "near.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int near_distance(const char *x, const char *y)
{
    enum { LONGEST = 24 };
    int row[LONGEST + 1];
    const int n = (int)strlen(x), m = (int)strlen(y);
    if (n > LONGEST || m > LONGEST) return LONGEST;
    for (int j = 0; j <= m; j++) row[j] = j;
    for (int i = 1; i <= n; i++) {
        int corner = row[0];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            const bool same =
                toupper((unsigned char)x[i - 1]) == toupper((unsigned char)y[j - 1]);
            int best = corner + !same;
            corner = row[j];
            if (corner + 1 < best) best = corner + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

/* What does not fit is cut. */
static void append(char *out, size_t size, const char *between, const char *name)
{
    const size_t n = strlen(out);
    snprintf(out + n, size - n, "%s%s", between, name);
}

static bool is_near(const char *word, const char *name, int distance)
{
    return near_distance(word, name) <= distance ||
           (strlen(word) >= 4 && strcasestr(name, word));
}

void near_suggest(char *out, size_t size, const char *word,
                  const char *(*name_at)(size_t))
{
    const char *name;
    *out = 0;
    for (int d = 1; d <= 2 && !*out; d++)
        for (size_t i = 0; (name = name_at(i)); i++)
            if (is_near(word, name, d))
                append(out, size, *out ? ", " : "near it: ", name);
    if (*out) return;
    append(out, size, "known are", "");
    for (size_t i = 0; (name = name_at(i)); i++) append(out, size, " ", name);
}
