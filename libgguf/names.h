/* names.h - a set of names with a number each: finds keys and tensors, and doubles. */
#ifndef GGF_NAMES_H
#define GGF_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Names are not copied; they must outlive the set.  Zero-initialise to start. */
struct name_set {
    struct name_slot {
        const char *name; /* NULL: free */
        uint64_t value;
    } * slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
    uint64_t seed; /* differs from run to run, so that nobody can prepare collisions */
};

/* Add a name.  Returns 1, 0 if it is there already, -1 out of memory. */
int name_set_add(struct name_set *set, const char *name, uint64_t value);
bool name_set_find(const struct name_set *set, const char *name, uint64_t *value);
void name_set_free(struct name_set *set);

/* The place of the first byte that may not be in a key or name (a control character),
 * or -1. */
int64_t name_fault(const char *name, uint64_t len);

#endif
