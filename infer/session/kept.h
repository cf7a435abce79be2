/* kept.h - what is kept of sequences: a tree of pages, and the states that hang on it.
 *
 * Sequences that begin alike share the pages of what they have in common.  A page is
 * needed, in memory or on disk, as long as a state behind it is there; who needs it is
 * counted, for both places apart.  Reading and writing files is left to checkpoint.c. */
#ifndef INFER_SESSION_KEPT_H
#define INFER_SESSION_KEPT_H

#include "record.h"

enum tier { TIER_RAM, TIER_DISK, TIERS };

struct page {
    struct page *parent, *children, *next; /* the root has no parent, and no tokens */
    uint32_t end;                          /* tokens up to here, its own included */
    uint32_t users[TIERS]; /* states at it and pages behind it that need it there */
    uint8_t key[KEY_BYTES];
    uint8_t *data; /* NULL: not in memory */
    int32_t tokens[PAGE_TOKENS];
};

struct state {
    struct page *page; /* the last whole one */
    bool in[TIERS];
    uint64_t used; /* when last, by the tree's clock */
    uint8_t key[KEY_BYTES];
    uint8_t *data; /* NULL: not in memory */
    uint32_t n_tail;
    int32_t tail[PAGE_TOKENS];
};

struct kept {
    struct page root;
    struct state **states;
    size_t n_states, room;
    uint64_t clock;
    uint64_t token_bytes, fixed_bytes; /* of data: for each token, and besides of a state
                                        */
    uint64_t bytes[TIERS];             /* taken */
    /* Called when nobody needs a file any longer. */
    void (*remove)(void *user, enum record_kind kind, const uint8_t key[KEY_BYTES]);
    void *user;
};

void kept_init(struct kept *k, const uint8_t root[KEY_BYTES]);
/* Files stay where they are. */
void kept_free(struct kept *k);

uint32_t state_pos(const struct state *s);
uint64_t page_bytes(const struct kept *k);                         /* of data */
uint64_t state_bytes(const struct kept *k, const struct state *s); /* likewise */
/* As it is on disk; data may be NULL. */
struct kept_record page_record(const struct kept *k, const struct page *p);
struct kept_record state_record(const struct kept *k, const struct state *s);

/* The page of these tokens behind another one; NULL if there is none. */
struct page *page_find(const struct page *parent, const int32_t *tokens);
/* One more, that nobody needs yet; NULL: out of memory. */
struct page *page_add(struct kept *k, struct page *parent, const int32_t *tokens);
/* Free the page and those before it that nobody needs. */
void page_tidy(struct kept *k, struct page *p);

/* Somebody needs the page there, and so all before it; or no longer.  In memory, data is
 * counted when it is put there. */
void page_hold(struct kept *k, struct page *p, enum tier tier);
void page_drop(struct kept *k, struct page *p, enum tier tier);

/* The state at these tokens behind a page; NULL. */
struct state *state_find(const struct kept *k, const struct page *p, const int32_t *tail,
                         uint32_t n);
/* One more, which is nowhere yet; NULL: out of memory. */
struct state *state_add(struct kept *k, struct page *p, const int32_t *tail, uint32_t n);
/* It is there now, and so are all its pages. */
void state_hold(struct kept *k, struct state *s, enum tier tier);
/* It is there no longer; pages that nobody needs there go too.  A state that is nowhere
 * is freed: then the result is true. */
bool state_drop(struct kept *k, struct state *s, enum tier tier);

/* The longest state that these tokens begin with; NULL: none. */
struct state *kept_match(const struct kept *k, const int32_t *tokens, uint32_t n);
/* Is the page one of the state's? */
bool state_has_page(const struct state *s, const struct page *p);

/* The state in a tier whose loss hurts least, but not `spare`; NULL: there is no other.
 * What it hurts: the tokens from the next shorter state to it would have to be read
 * again, the less likely the longer nobody wanted it.  So what is old does not vanish at
 * once, it gets sparse. */
struct state *kept_victim(const struct kept *k, enum tier tier,
                          const struct state *spare);

#endif
