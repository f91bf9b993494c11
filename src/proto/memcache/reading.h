/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit reading is what the readers of memcached's requests share: the request that is being read,
 * what can come of it, and the writing of canonical forms. */
#ifndef PROTO_MEMCACHE_READING_H
#define PROTO_MEMCACHE_READING_H

#include <string.h>

#include "proto/memcache/line.h"
#include "proto/memcache/verb.h"
#include "proto/proto.h"

enum { NUMBER_MAX = 20 }; /* characters of a 64-bit number, sign included */

/** memcached's words for what many commands may be told. */
#define BAD_FORMAT SPAN("CLIENT_ERROR bad command line format\r\n")
#define BAD_EXPTIME SPAN("CLIENT_ERROR invalid exptime argument\r\n")
#define TOO_LARGE SPAN("SERVER_ERROR object too large for cache\r\n")
#define NO_MEMORY SPAN("SERVER_ERROR out of memory reading request\r\n")

/** A request that is being read. */
struct reading {
    struct request_parser *p;
    struct proto_session *ses;
    struct span in;
    struct buf *scratch;
    struct request_view *out;
    const struct verb *verb;
    struct line line;
    struct words words; /* of all but a get */
};

/** Sets every field but the keys, which count only as far as `ranges` says: to zero it all costs as
 * much as a short get. */
void reading_begin(struct request_view *v, const char *base, const struct args *args);

/** Answers with `reply`, or with nothing if the request wants no reply. */
enum parse reading_answer(struct reading *r, struct span reply, bool quiet);

/** Nothing behind this can be read. */
enum parse reading_bad(struct request_view *out, struct span reply);

/** Notes an argument, which lies in the input. False if memory is out. */
must_check static inline bool reading_push(struct reading *r, struct span word)
{
    return args_push(r->p->args, (uint32_t)(word.ptr - r->in.ptr), (uint32_t)word.len);
}

/** Waits until the data block of `bytes` behind the line is here. */
enum parse reading_wait(struct reading *r, int32_t bytes);

/** Do the words stand with single spaces between them and at no end, in a line with one reading? */
bool reading_is_tight(const struct reading *r);

/** Writes behind what is in the buf; room for it was reserved. */
static inline void put(struct buf *b, struct span s)
{
    memcpy(b->data + b->tail, s.ptr, s.len);
    b->tail += s.len;
}

/** Writes a space and a number. */
void put_number(struct buf *b, uint64_t n, bool negative);
void put_i32(struct buf *b, int32_t n);

#endif
