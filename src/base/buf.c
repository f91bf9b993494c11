/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 256 };

bool buf_reserve(struct buf *b, size_t more)
{
    size_t len = buf_len(b);
    if (more <= b->cap - b->tail)
        return true;
    if (more > SIZE_MAX / 2 - len)
        return false;
    /* Moving the bytes to the front is enough when at least half of the memory lies free there: so
     * a byte is moved at most once for each byte that was taken, and the whole stays linear. */
    if (b->head >= b->cap / 2 && len + more <= b->cap) {
        memmove(b->data, b->data + b->head, len);
        b->head = 0;
        b->tail = len;
        return true;
    }
    /* Else it doubles even if the bytes would fit once moved: there would soon be the next move. */
    size_t cap = b->cap < SMALLEST ? SMALLEST : b->cap * 2;
    while (cap < len + more)
        cap *= 2;
    char *data = realloc(b->data, cap);
    if (data == NULL)
        return false;
    if (b->head > 0) {
        memmove(data, data + b->head, len);
        b->head = 0;
        b->tail = len;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

bool buf_append(struct buf *b, struct span s)
{
    if (s.len == 0)
        return true;
    if (!buf_reserve(b, s.len))
        return false;
    memcpy(b->data + b->tail, s.ptr, s.len);
    b->tail += s.len;
    return true;
}

void buf_consume(struct buf *b, size_t n)
{
    must(n <= buf_len(b));
    b->head += n;
    if (b->head == b->tail)
        buf_clear(b);
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}
