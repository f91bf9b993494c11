/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit answers is a server without memory: what it answers is a function of the request alone, so that a test knows the
 * answer to every request, and a value names the key that it belongs to. */
#ifndef TESTS_FUZZ_ANSWERS_H
#define TESTS_FUZZ_ANSWERS_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"
#include "reader.h"

/** Appends the answer of a redis server. GET k gives the value "<k>"; a key that begins with "null", "int", "err",
 * "nest" or "big" gives another shape, from MGET a null. */
void answer_redis(const struct reading_request *r, struct buf *out);

/** Appends the answer of a memcached. A key that begins with "miss" has no value, one that begins with "big" a long
 * one. */
void answer_memcache(const struct reading_request *r, struct buf *out);

/** Appends; the memory is a test's own and always there. */
void put(struct buf *out, struct span s);
void put_text(struct buf *out, const char *text);
void put_header(struct buf *out, char mark, size_t n);

/** Does `s` begin with `text`? */
bool begins(struct span s, const char *text);

#endif
