/* grid_words.c - see grid_words.h. */
#include "grid_words.h"
#include "grids.h"

#include <pthread.h>
#include <stddef.h>

struct grid_words grid_words;

static uint32_t word_iq2(uint16_t code)
{
    const uint64_t level = grid_spread2(code);
    return (uint32_t)(level | level >> 28);
}

static void words_iq2(uint32_t *words, const uint16_t *codes, size_t n)
{
    for (size_t i = 0; i < n; i++) words[i] = word_iq2(codes[i]);
}

static void words_iq3(uint32_t *words, const uint16_t *codes, size_t n)
{
    for (size_t i = 0; i < n; i++) words[i] = grid_spread3(codes[i]);
}

static void make(void)
{
    words_iq2(grid_words.iq2_xxs, grid_iq2_xxs, 256);
    words_iq2(grid_words.iq2_xs, grid_iq2_xs, 512);
    words_iq2(grid_words.iq2_s, grid_iq2_s, 1024);
    words_iq3(grid_words.iq3_xxs, grid_iq3_xxs, 256);
    words_iq3(grid_words.iq3_s, grid_iq3_s, 512);
    for (size_t i = 0; i < 256; i++)
        grid_words.points_iq3_xxs[i] = grid_bytes_iq3_xxs(grid_iq3_xxs[i]);
    for (size_t i = 0; i < 512; i++)
        grid_words.points_iq3_s[i] = grid_bytes_iq3_s(grid_iq3_s[i]);
}

void grid_words_make(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make);
}
