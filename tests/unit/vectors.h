/* vectors.h - files of tests/data/vectors (see the README there). */
#ifndef TESTS_UNIT_VECTORS_H
#define TESTS_UNIT_VECTORS_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The bytes of a file; fails the test if it cannot be read.  To be freed. */
static inline void *vector_load(const char *name, size_t *size)
{
    char path[256];
    snprintf(path, sizeof path, "tests/data/vectors/%s", name);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
    const long bytes = ftell(f);
    ck_assert_int_ge(bytes, 0);
    rewind(f);
    uint8_t *data = malloc((size_t)bytes + 1);
    ck_assert_ptr_nonnull(data);
    ck_assert_uint_eq(fread(data, 1, (size_t)bytes, f), (size_t)bytes);
    fclose(f);
    *size = (size_t)bytes;
    return data;
}

/* The name of a type as the files have it: in lower case. */
static inline void vector_type_name(char lower[16], const char *name)
{
    size_t i = 0;
    for (; name[i] && i < 15; i++)
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
    lower[i] = 0;
}

#endif
