/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit chain is a queue of bytes in chunks: what waits to be sent, and replies that are parked.
 * Small appends are copied together into the last chunk, so that one send carries many messages; a
 * whole buffer can be linked in without a copy. Chunks come from a pool that belongs to one thread.
 */
#ifndef BASE_CHAIN_H
#define BASE_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/copy.h"
#include "base/hint.h"
#include "base/meter.h"
#include "base/must.h"
#include "base/span.h"

/* Sizes of chunks; the first chunk of a chain is of the smallest that will do, so that many chains
 * with a short reply each touch little memory. */
enum { CHUNK_CLASSES = 3 };

struct chunk {
    struct chunk *next;
    char *data; /* its bytes: behind this header, or a malloc'd buffer that it owns (class
                   CHUNK_FOREIGN) */
    size_t head;
    size_t tail;
    size_t cap;
    uint8_t class;
};

struct chunk_pool {
    struct chunk *free[CHUNK_CLASSES];
    size_t cached[CHUNK_CLASSES]; /* chunks that lie ready */
    size_t low[CHUNK_CLASSES];    /* the fewest that lay ready since chunk_pool_shed() */
    size_t cached_bytes;
    size_t bytes;       /* memory of chunks in use */
    struct meter meter; /* all memory of the thread that is counted, that of chunks included */
};

struct chain {
    struct chunk *first;
    struct chunk *last;
    size_t len; /* bytes in it */
};

/** Frees the pool's ready chunks. Every chain must have been cleared before. */
void chunk_pool_free(struct chunk_pool *pool);

/** Frees ready chunks that were not needed since the last call, `most` bytes of them or a little more,
 * and begins a new period. Returns the bytes freed. */
size_t chunk_pool_shed(struct chunk_pool *pool, size_t most);

/** Frees all ready chunks. */
void chunk_pool_shed_all(struct chunk_pool *pool);

static inline bool chain_empty(const struct chain *c)
{
    return c->len == 0;
}

/** Slow path of chain_append(): nothing to append, or more than the last chunk has room for. */
must_check bool chain_append_more(struct chain *c, struct chunk_pool *pool, struct span s);

/** Appends a copy of `s`. False if memory is out: nothing was appended. */
must_check static inline bool chain_append(struct chain *c, struct chunk_pool *pool, struct span s)
{
    struct chunk *k = c->last;
    /* No bytes at all may come without a pointer, which memcpy() must not see: less one, they are
     * more than any room. */
    if (unlikely(k == NULL || s.len - 1 >= k->cap - k->tail))
        return chain_append_more(c, pool, s);
    copy_bytes(k->data + k->tail, s.ptr, s.len);
    k->tail += s.len;
    c->len += s.len;
    return true;
}

/** Links the bytes of `b` to the end, without a copy, and leaves `b` empty. False if memory is out:
 * `b` is unchanged. */
must_check bool chain_adopt(struct chain *c, struct chunk_pool *pool, struct buf *b);

/** Moves all bytes of `from` behind those of `c`, copying when they are few; `from` is left empty.
 */
void chain_splice(struct chain *c, struct chunk_pool *pool, struct chain *from);

/** Fills `iov` with its first bytes, at most `max` pieces; returns how many. */
int chain_iovec(const struct chain *c, struct iovec *iov, int max);

/** Takes `n` bytes (at most its length) from its front. */
void chain_consume(struct chain *c, struct chunk_pool *pool, size_t n);

/** Moves all bytes behind the first `n` to the (empty) `tail`. False if memory is out: nothing
 * changed. */
must_check bool chain_cut(struct chain *c, struct chunk_pool *pool, size_t n, struct chain *tail);

/** Moves the first `n` bytes (at most its length) behind those of `to`, as a copy. False if memory is
 * out: some may have been moved. */
must_check bool chain_move(struct chain *from, struct chunk_pool *pool, size_t n, struct chain *to);

/** Drops all bytes. */
void chain_clear(struct chain *c, struct chunk_pool *pool);

#endif
