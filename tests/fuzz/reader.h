/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit reader reads the wire formats once more, as simply and strictly as can be and without a line of src/proto: what the
 * proxy forwards must be exactly one request to it, and what clients get exactly one reply for each of theirs. */
#ifndef TESTS_FUZZ_READER_H
#define TESTS_FUZZ_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

enum reading {
    READING_WHOLE,
    READING_PART,  /* more bytes are needed */
    READING_WRONG, /* not in the one form that everybody reads alike */
};

enum { READER_WORDS = 4096 };

/** A request: its words (a data block is the last), and its bytes. Those beyond READER_WORDS are counted only. */
struct reading_request {
    struct span words[READER_WORDS];
    size_t count;
    size_t len;
    bool meta; /* memcache: a command of the meta protocol */
};

/** The request that `in` begins with. */
enum reading read_redis_request(struct span in, struct reading_request *out);
enum reading read_memcache_request(struct span in, struct reading_request *out);

/** The reply that `in` begins with: its bytes. RESP3 is read, too. */
enum reading read_redis_reply(struct span in, size_t *len);

/** The same of memcached, for a request that is answered by VALUE blocks and END, or by one line. */
enum reading read_memcache_reply(struct span in, bool values, size_t *len);

#endif
