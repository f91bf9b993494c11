/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/chain.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_FOREIGN = CHUNK_CLASSES };
/* What is copied rather than linked when two chains become one: below it a copy is cheaper than one
 * more iovec. */
enum { SPLICE_COPY = 2048 };

static const size_t class_bytes[CHUNK_CLASSES] = {512, 4096, 32768};

static struct chunk *chunk_borrow(struct chunk_pool *pool, uint8_t class)
{
    struct chunk *k = pool->free[class];
    if (k != NULL) {
        pool->free[class] = k->next;
        pool->cached[class]--;
        pool->cached_bytes -= class_bytes[class];
        if (pool->cached[class] < pool->low[class])
            pool->low[class] = pool->cached[class];
    } else {
        k = malloc(class_bytes[class]);
        if (k == NULL)
            return NULL;
        k->data = (char *)(k + 1);
        k->cap = class_bytes[class] - sizeof(*k);
        k->class = class;
        meter_add(&pool->meter, class_bytes[class]);
    }
    k->next = NULL;
    k->head = 0;
    k->tail = 0;
    pool->bytes += class_bytes[class];
    return k;
}

/* Ready chunks are not bounded: they were in use at once, so that they are needed again while it goes
 * on like that, and chunk_pool_shed() frees them when it does not. */
static void chunk_return(struct chunk_pool *pool, struct chunk *k)
{
    if (k->class == CHUNK_FOREIGN) {
        pool->bytes -= k->cap;
        meter_sub(&pool->meter, k->cap);
        free(k->data);
        free(k);
        return;
    }
    pool->bytes -= class_bytes[k->class];
    pool->cached_bytes += class_bytes[k->class];
    k->next = pool->free[k->class];
    pool->free[k->class] = k;
    pool->cached[k->class]++;
}

/* Frees `count` ready chunks of a class. */
static void shed(struct chunk_pool *pool, size_t class, size_t count)
{
    pool->cached[class] -= count;
    pool->cached_bytes -= count * class_bytes[class];
    meter_sub(&pool->meter, count * class_bytes[class]);
    for (; count > 0; count--) {
        struct chunk *k = pool->free[class];
        pool->free[class] = k->next;
        free(k);
    }
}

size_t chunk_pool_shed(struct chunk_pool *pool, size_t most)
{
    size_t freed = 0;
    for (size_t i = CHUNK_CLASSES; i > 0; i--) {
        size_t class = i - 1;
        size_t left = freed < most ? (most - freed) / class_bytes[class] + 1 : 0;
        size_t count = pool->low[class] < left ? pool->low[class] : left;
        shed(pool, class, count);
        freed += count * class_bytes[class];
        pool->low[class] = pool->cached[class];
    }
    return freed;
}

void chunk_pool_shed_all(struct chunk_pool *pool)
{
    for (size_t i = 0; i < CHUNK_CLASSES; i++) {
        shed(pool, i, pool->cached[i]);
        pool->low[i] = 0;
    }
}

void chunk_pool_free(struct chunk_pool *pool)
{
    must(pool->bytes == 0);
    chunk_pool_shed_all(pool);
}

static void chain_link(struct chain *c, struct chunk *k)
{
    if (c->last == NULL)
        c->first = k;
    else
        c->last->next = k;
    c->last = k;
}

/* The class of the next chunk of a chain that holds `held` bytes and is to take `more`. */
static uint8_t class_for(size_t held, size_t more)
{
    for (size_t i = 0; i < CHUNK_CLASSES - 1; i++)
        if (held + more <= class_bytes[i] - sizeof(struct chunk))
            return (uint8_t)i;
    return CHUNK_CLASSES - 1;
}

/* While a chain is small, its only chunk makes way for one that takes `more` bytes as well: so what
 * is sent together lies in one piece, and to copy few bytes is cheaper than to have the kernel take
 * one more. False if that can't be. */
static bool widen(struct chain *c, struct chunk_pool *pool, size_t more)
{
    struct chunk *old = c->first;
    uint8_t class = class_for(c->len, more);
    if (old == NULL || old != c->last || old->class >= class ||
        more > class_bytes[class] - sizeof(*old) - c->len)
        return false;
    struct chunk *wide = chunk_borrow(pool, class);
    if (wide == NULL)
        return false;
    wide->tail = c->len;
    memcpy(wide->data, old->data + old->head, c->len);
    chunk_return(pool, old);
    c->first = wide;
    c->last = wide;
    return true;
}

/* Fills the last chunk, and new ones with what is left. All are made before a byte is written, so
 * that failure leaves the chain as it was. */
static bool append_chunks(struct chain *c, struct chunk_pool *pool, struct span s)
{
    struct chunk *k = c->last;
    size_t room = (k == NULL) ? 0 : k->cap - k->tail;
    size_t now = s.len < room ? s.len : room;
    struct chain fresh = {0};
    for (size_t left = s.len - now; left > 0;) {
        struct chunk *add = chunk_borrow(pool, class_for(c->len + now, left));
        if (add == NULL) {
            chain_clear(&fresh, pool);
            return false;
        }
        add->tail = left < add->cap ? left : add->cap;
        memcpy(add->data, s.ptr + (s.len - left), add->tail);
        left -= add->tail;
        chain_link(&fresh, add);
    }
    if (now > 0) {
        memcpy(k->data + k->tail, s.ptr, now);
        k->tail += now;
    }
    chain_link(c, fresh.first);
    c->last = fresh.last;
    c->len += s.len;
    return true;
}

bool chain_append_more(struct chain *c, struct chunk_pool *pool, struct span s)
{
    if (s.len == 0)
        return true;
    return widen(c, pool, s.len) ? chain_append(c, pool, s) : append_chunks(c, pool, s);
}

bool chain_adopt(struct chain *c, struct chunk_pool *pool, struct buf *b)
{
    if (buf_len(b) == 0) {
        buf_free(b);
        return true;
    }
    struct chunk *k = malloc(sizeof(*k));
    if (k == NULL)
        return false;
    *k = (struct chunk){
        .data = b->data, .head = b->head, .tail = b->tail, .cap = b->cap, .class = CHUNK_FOREIGN};
    pool->bytes += k->cap;
    meter_add(&pool->meter, k->cap);
    chain_link(c, k);
    c->len += buf_len(b);
    *b = (struct buf){0};
    return true;
}

void chain_splice(struct chain *c, struct chunk_pool *pool, struct chain *from)
{
    bool copies = from->len <= SPLICE_COPY && c->last != NULL;
    while (copies && from->first != NULL) {
        const struct chunk *k = from->first;
        struct span here = {k->data + k->head, k->tail - k->head};
        copies = chain_append(c, pool, here);
        if (copies)
            chain_consume(from, pool, here.len);
    }
    if (from->first != NULL) {
        chain_link(c, from->first);
        c->last = from->last;
        c->len += from->len;
    }
    *from = (struct chain){0};
}

int chain_iovec(const struct chain *c, struct iovec *iov, int max)
{
    int n = 0;
    for (const struct chunk *k = c->first; k != NULL && n < max; k = k->next) {
        if (k->tail == k->head)
            continue;
        iov[n].iov_base = k->data + k->head;
        iov[n].iov_len = k->tail - k->head;
        n++;
    }
    return n;
}

void chain_consume(struct chain *c, struct chunk_pool *pool, size_t n)
{
    must(n <= c->len);
    c->len -= n;
    while (c->first != NULL) {
        struct chunk *k = c->first;
        size_t here = k->tail - k->head;
        if (n < here) {
            k->head += n;
            return;
        }
        n -= here;
        c->first = k->next;
        if (c->first == NULL)
            c->last = NULL;
        chunk_return(pool, k);
    }
}

bool chain_cut(struct chain *c, struct chunk_pool *pool, size_t n, struct chain *tail)
{
    must(n <= c->len && tail->first == NULL);
    if (n == c->len)
        return true;
    struct chunk *before = NULL;
    struct chunk *k = c->first;
    size_t left = n;
    for (; left > 0 && left >= k->tail - k->head; k = k->next) {
        left -= k->tail - k->head;
        before = k;
    }
    if (left > 0) {
        /* The cut goes through chunk k: what lies behind it is copied, its further chunks are
         * moved. */
        struct span rest = {k->data + k->head + left, k->tail - k->head - left};
        if (!chain_append(tail, pool, rest))
            return false;
        k->tail -= rest.len;
        before = k;
        k = k->next;
    }
    if (k != NULL) {
        chain_link(tail, k);
        tail->last = c->last;
    }
    if (before == NULL)
        c->first = NULL;
    else
        before->next = NULL;
    c->last = before;
    tail->len = c->len - n;
    c->len = n;
    return true;
}

bool chain_move(struct chain *from, struct chunk_pool *pool, size_t n, struct chain *to)
{
    must(n <= from->len);
    while (n > 0) {
        struct span here = {from->first->data + from->first->head,
                            from->first->tail - from->first->head};
        here.len = here.len < n ? here.len : n;
        if (!chain_append(to, pool, here))
            return false;
        chain_consume(from, pool, here.len);
        n -= here.len;
    }
    return true;
}

void chain_clear(struct chain *c, struct chunk_pool *pool)
{
    while (c->first != NULL) {
        struct chunk *k = c->first;
        c->first = k->next;
        chunk_return(pool, k);
    }
    *c = (struct chain){0};
}
