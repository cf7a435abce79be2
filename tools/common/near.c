/* near.c - see near.h. */
#include "near.h"

#include <ctype.h>
#include <stdbool.h>
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
