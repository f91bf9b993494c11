/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit line reads one command line word by word, and its numbers, as memcached 1.6.18 does: words
 * are parted by spaces alone, so that a TAB or a CR belongs to its word; a NUL byte ends what is
 * seen of the line; numbers are strtol's. */
#ifndef PROTO_MEMCACHE_LINE_H
#define PROTO_MEMCACHE_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum {
    LINE_WORDS = 23, /* more words than these memcached does not see, keys of a get excepted */
    KEY_MAX = 250,   /* bytes of a key */
};

/** A line, as far as memcached sees it. */
struct line {
    struct span text; /* without its end, cut at a NUL */
    uint32_t len;     /* bytes of it all, end included */
    bool strict;      /* ends with CRLF and holds no NUL: its one reading is its text */
};

/** The words of a line that is no get. */
struct words {
    struct span v[LINE_WORDS];
    uint32_t count;
};

/** The line at the front of `in`, whose LF is at `lf`. */
struct line line_cut(struct span in, const char *lf);

/** Where the word at `p` ends. Most are so short that a call costs more than a look at each byte.
 */
static inline const char *line_word_end(const char *p, const char *end)
{
    const char *near = end - p > 16 ? p + 16 : end;
    while (p < near && *p != ' ')
        p++;
    if (p < near || p == end)
        return p;
    const char *space = memchr(p, ' ', (size_t)(end - p));
    return space == NULL ? end : space;
}

/** Takes the next word from the front of `*rest`. False if there is none. */
static inline bool line_word(struct span *rest, struct span *word)
{
    const char *p = rest->ptr;
    const char *end = rest->ptr + rest->len;
    while (p < end && *p == ' ')
        p++;
    if (p == end)
        return false;
    const char *stop = line_word_end(p, end);
    *word = (struct span){p, (size_t)(stop - p)};
    *rest = (struct span){stop, (size_t)(end - stop)};
    return true;
}

/** Adds the words of `text` to those of the line that are split already, LINE_WORDS at most in all.
 */
void line_split(struct span text, struct words *out);

/** Reads a word as memcached reads a signed number: any 64-bit one, cut to its low 32 bits.
 * `*plain` becomes false if the number is not written in its usual form. */
bool line_i32(struct span word, int32_t *out, bool *plain);
/** The same for an unsigned one. */
bool line_u32(struct span word, uint32_t *out, bool *plain);
bool line_u64(struct span word, uint64_t *out, bool *plain);

#endif
