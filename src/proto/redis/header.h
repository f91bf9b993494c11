/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit header reads the line that a bulk string or an array begins with, in the one form that nearly
 * all have. Whoever meets another form reads it byte by byte, as the protocol has it. */
#ifndef PROTO_REDIS_HEADER_H
#define PROTO_REDIS_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The longest header that is read. */
enum { HEADER_MOST = 7 };

/** The header read last; HEADER_NONE before the first. */
struct header {
    uint64_t bytes; /* itself, in the low bytes of a word */
    uint64_t mask;  /* ... which are these */
    uint32_t len;
    uint32_t value;
};

/* No word is equal to it. */
#define HEADER_NONE                                                                                \
    {                                                                                              \
        .bytes = 1                                                                                 \
    }

/** Reads the header at the front of a word (word_load()): `mark`, a number of one to four digits from
 * 1 on, CR LF. Returns its bytes; 0 if it is no such one. */
static inline uint32_t header_read(uint64_t word, char mark, uint32_t *value)
{
    enum { CR_LF = '\r' | '\n' << 8 };
    uint32_t n = (uint32_t)(word >> 8 & 0xff) - '0';
    if ((char)(word & 0xff) != mark || n - 1 > 8)
        return 0;
    uint32_t len = 4;
    for (word >>= 16; (word & 0xffff) != CR_LF; word >>= 8) {
        uint32_t digit = (uint32_t)(word & 0xff) - '0';
        if (digit > 9 || len == HEADER_MOST)
            return 0;
        n = n * 10 + digit;
        len++;
    }
    *value = n;
    return len;
}

/** The same into `h`, for one of several of the same mark that follow each other. Strings that come
 * together are often of one length: their headers are the same then, and the processor finds the
 * next one without having to wait for the digits of this one. False if it is no such header: `h` is
 * as it was. */
static inline bool header_next(struct header *h, uint64_t word, char mark)
{
    if ((word & h->mask) == h->bytes)
        return true;
    uint32_t len = header_read(word, mark, &h->value);
    if (len == 0)
        return false;
    h->len = len;
    h->mask = UINT64_MAX >> (64 - 8 * len);
    h->bytes = word & h->mask;
    return true;
}

#endif
