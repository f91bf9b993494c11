/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit answer composes the requests of the load generator and checks the replies to them, byte by
 * byte and however they are cut; what redis and memcached say differs in a const vtable. */
#ifndef BENCH_ANSWER_H
#define BENCH_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "payload.h"

/* The most keys that one request names. */
enum { ASK_KEYS_MAX = 1024 };

/** A request: keys `first`, first + 1, ... (behind the last key comes key 0), `count` of them; one
 * if it is to set. */
struct ask {
    uint32_t first;
    uint32_t count;
    bool set;
    uint64_t born; /* ns: when it was sent, or should have been */
};

enum { ANSWER_LINE = 128 };

/** Where the reading of one reply stands. Zeroed before its first byte. */
struct answer {
    const char *wrong; /* what was wrong with it first; NULL: nothing so far */
    uint64_t body;     /* bytes of a value that are still to come */
    size_t at;         /* bytes of it that were checked */
    uint32_t key;      /* it should be the value of this key */
    uint32_t values;   /* values begun */
    uint8_t state;
    uint8_t line_end; /* bytes of the line end behind a value that were seen */
    bool array;       /* redis: inside the reply to MGET */
    bool more;        /* something follows the value */
    uint32_t held;    /* bytes of a line that came in pieces */
    char line[ANSWER_LINE];
    uint64_t seen[ASK_KEYS_MAX / 64]; /* memcached: keys that had their value */
};

/* What a line of a reply means. */
enum answer_line {
    ANSWER_LINE_NEXT,   /* another line follows */
    ANSWER_LINE_VALUE,  /* `body` bytes of a value follow */
    ANSWER_LINE_END,    /* the reply ends here */
    ANSWER_LINE_BROKEN, /* not a line that can stand here */
};

struct dialect {
    const char *name;
    /** Appends a request. Aborts if memory is out. */
    void (*compose)(const struct payload *p, const struct ask *a, struct buf *out);
    /** Reads a line, given without its end, of the reply to `a`. */
    enum answer_line (*line)(struct answer *s, const struct payload *p, const struct ask *a,
                             struct span line);
};

extern const struct dialect dialect_redis;
extern const struct dialect dialect_memcache;

enum answer_state {
    ANSWER_MORE,   /* more bytes must come */
    ANSWER_DONE,   /* the reply is whole; `wrong` says what it should not be */
    ANSWER_BROKEN, /* what comes now can't be told from what came */
};

/** Checks what came of the reply to `a`. `*used` is how much of it belongs to this reply. */
enum answer_state answer_check(struct answer *s, const struct dialect *d, const struct payload *p,
                               const struct ask *a, struct span in, size_t *used);

/** The `i`th key of a request. */
static inline uint32_t ask_key(const struct payload *p, const struct ask *a, uint32_t i)
{
    return (a->first + i) % p->keys;
}

/** Notes what is wrong, if nothing was before. */
static inline void answer_wrong(struct answer *s, const char *why)
{
    if (s->wrong == NULL)
        s->wrong = why;
}

#endif
