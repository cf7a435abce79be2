/* names.c - open addressing over FNV-1a, at most half full. */
#include "names.h"

#include <stdlib.h>
#include <string.h>

static uint64_t hash(uint64_t seed, const char *s)
{
    uint64_t h = 0xcbf29ce484222325 ^ seed; /* FNV-1a's offset basis and prime, 64 bits */
    for (; *s; s++) h = (h ^ (uint8_t)*s) * 0x100000001b3;
    return h ^ h >> 29;
}

/* The slot that holds the name, or the free one where it belongs. */
static struct name_slot *slot_of(const struct name_set *set, const char *name)
{
    size_t i = (size_t)hash(set->seed, name) & (set->capacity - 1);
    while (set->slots[i].name && strcmp(set->slots[i].name, name) != 0)
        i = (i + 1) & (set->capacity - 1);
    return &set->slots[i];
}

static bool grow(struct name_set *set)
{
    struct name_set bigger = { .capacity = set->capacity ? 2 * set->capacity : 64,
                               .count = set->count };
    bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
    if (!bigger.slots) return false;
    bigger.seed = (uintptr_t)bigger.slots * 0x9e3779b97f4a7c15 >> 16;
    for (size_t i = 0; i < set->capacity; i++)
        if (set->slots[i].name) *slot_of(&bigger, set->slots[i].name) = set->slots[i];
    free(set->slots);
    *set = bigger;
    return true;
}

int name_set_add(struct name_set *set, const char *name, uint64_t value)
{
    if (2 * set->count >= set->capacity && !grow(set)) return -1;
    struct name_slot *slot = slot_of(set, name);
    if (slot->name) return 0;
    slot->name = name;
    slot->value = value;
    set->count++;
    return 1;
}

bool name_set_find(const struct name_set *set, const char *name, uint64_t *value)
{
    if (!set->capacity) return false;
    const struct name_slot *slot = slot_of(set, name);
    if (!slot->name) return false;
    *value = slot->value;
    return true;
}

void name_set_free(struct name_set *set)
{
    free(set->slots);
    *set = (struct name_set){ 0 };
}

int64_t name_fault(const char *name, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        if ((uint8_t)name[i] < 0x20 || name[i] == 0x7f) return (int64_t)i;
    return -1;
}
