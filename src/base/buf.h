/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit buf is a growable run of bytes that is filled at its end and taken from its front. An empty
 * buf holds no memory. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/must.h"
#include "base/span.h"

struct buf {
    char *data;  /* malloc'd; NULL when it never held a byte or was freed */
    size_t head; /* first byte that is still in it */
    size_t tail; /* one past its last byte */
    size_t cap;  /* bytes allocated */
};

static inline size_t buf_len(const struct buf *b)
{
    return b->tail - b->head;
}

/** The bytes in it, valid until it is changed. */
static inline struct span buf_span(const struct buf *b)
{
    return (struct span){b->data == NULL ? "" : b->data + b->head, b->tail - b->head};
}

/** Makes room for `more` bytes behind its end, growing by doubling. False if memory is out: nothing
 * changed then. */
must_check bool buf_reserve(struct buf *b, size_t more);

/** Appends a copy of `s`. False if memory is out: nothing was appended. */
must_check bool buf_append(struct buf *b, struct span s);

/** Takes `n` bytes (at most buf_len) from its front. */
void buf_consume(struct buf *b, size_t n);

/** Forgets its bytes and keeps its memory. */
static inline void buf_clear(struct buf *b)
{
    b->head = 0;
    b->tail = 0;
}

/** Frees its memory; it can be used again as an empty one. */
void buf_free(struct buf *b);

#endif
