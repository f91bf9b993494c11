/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/loop.h"

#include <limits.h>
#include <malloc.h>
#include <stdlib.h>

#include "io/epoll.h"
#ifdef CASHEW_URING
#include "io/uring.h"
#endif

/* What lies ready is looked at once a second, as a busy second needs it; what was not needed is freed
 * in steps, since giving pages back takes the kernel some milliseconds for each 10 MiB. */
enum { SHED_MS = 1000, SHED_ON_MS = 100, SHED_STEP = 32 << 20 };
/* Ready chunks for which nothing is done, and freed memory for which the system is not called. */
enum { READY_BYTES = 256 << 10, TRIM_BYTES = 512 << 10 };

const struct loop_ops *const loop_backends[] = {
    &epoll_ops,
#ifdef CASHEW_URING
    &uring_ops,
#endif
    NULL,
};

const struct loop_ops *loop_backend(struct span name)
{
    for (size_t i = 0; loop_backends[i] != NULL; i++)
        if (span_eq(name, span_str(loop_backends[i]->name)))
            return loop_backends[i];
    return NULL;
}

/* ---- memory that lies ready ---- */

static bool can_shed(const struct loop *l)
{
    if (l->pool.cached_bytes > READY_BYTES)
        return true;
    LIST_FOREACH (node, &l->keepers) {
        struct keeper *k = container_of(node, struct keeper, link);
        if (k->can_shed(k))
            return true;
    }
    return false;
}

/* Hands freed memory back to the system, if much less is needed now than was needed before: the
 * allocator does so by itself only where nothing in use lies behind it. */
static void trim(struct loop *l, size_t needed)
{
    if (needed > l->untrimmed)
        l->untrimmed = needed;
    if (l->untrimmed - needed < TRIM_BYTES)
        return;
    l->untrimmed = needed;
    malloc_trim(0);
}

static void on_shed(struct timer *t)
{
    struct loop *l = container_of(t, struct loop, shed_timer);
    struct meter *m = &l->pool.meter;
    size_t needed = m->high;
    m->high = m->used;
    bool more =
        l->pool.cached_bytes > READY_BYTES && chunk_pool_shed(&l->pool, SHED_STEP) >= SHED_STEP;
    LIST_FOREACH_SAFE (node, &l->keepers) {
        struct keeper *k = container_of(node, struct keeper, link);
        k->shed(k);
    }
    trim(l, needed);
    if (can_shed(l) || l->untrimmed - (needed < m->used ? needed : m->used) >= TRIM_BYTES)
        timer_start(l, t, more ? SHED_ON_MS : SHED_MS);
}

/* At the end of a turn. Memory that is only in use is no reason to wake up: when it comes free, a
 * turn did it. */
static void watch_memory(struct loop *l)
{
    if (timer_running(&l->shed_timer))
        return;
    if (can_shed(l) || l->pool.meter.high - l->pool.meter.used >= TRIM_BYTES)
        timer_start(l, &l->shed_timer, SHED_MS);
}

struct loop *loop_open(const struct loop_ops *ops)
{
    struct loop *l = ops->open();
    if (l == NULL)
        return NULL;
    l->ops = ops;
    list_init(&l->turn_ends);
    list_init(&l->timers);
    list_init(&l->closing);
    list_init(&l->dirty);
    list_init(&l->finishing);
    list_init(&l->keepers);
    timer_init(&l->finish_timer, NULL);
    timer_init(&l->shed_timer, on_shed);
    atomic_init(&l->posted, NULL);
    return l;
}

void loop_free(struct loop *l)
{
    must(l->socks == 0);
    timer_stop(l, &l->finish_timer);
    timer_stop(l, &l->shed_timer);
    must(list_empty(&l->timers));
    chunk_pool_free(&l->pool);
    expect_dbg(l->pool.meter.used == 0);
    l->ops->free(l);
}

void loop_run(struct loop *l)
{
    while (!l->stopping)
        loop_turn(l, true);
    l->stopping = false;
}

void loop_stop(struct loop *l)
{
    l->stopping = true;
}

/* How long the turn may wait for events. Work that was left over, or asked for between two turns,
 * does not wait. */
static int wait_ms(struct loop *l, bool may_wait)
{
    if (!may_wait || !list_empty(&l->closing) || !list_empty(&l->turn_ends) ||
        !list_empty(&l->dirty) || atomic_load_explicit(&l->posted, memory_order_relaxed) != NULL)
        return 0;
    if (list_empty(&l->timers))
        return -1;
    uint64_t due = LIST_FIRST(&l->timers, struct timer, link)->due;
    uint64_t ms = due > l->now ? due - l->now : 0;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static void run_posted(struct loop *l)
{
    if (atomic_load_explicit(&l->posted, memory_order_relaxed) == NULL)
        return;
    struct task *t = atomic_exchange_explicit(&l->posted, NULL, memory_order_acquire);
    struct task *first = NULL;
    while (t != NULL) {
        struct task *older = t->next;
        t->next = first;
        first = t;
        t = older;
    }
    while (first != NULL) {
        t = first;
        first = t->next; /* the memory is the poster's again once it runs */
        t->run(t);
    }
}

/* A timer that a timer starts runs in a later turn, even with 0 ms: so timers can't keep the turn
 * from ending. */
static void run_timers(struct loop *l)
{
    struct list due;
    list_init(&due);
    while (!list_empty(&l->timers)) {
        struct timer *t = LIST_FIRST(&l->timers, struct timer, link);
        if (t->due > l->now)
            break;
        list_unlink(&t->link);
        list_append(&due, &t->link);
    }
    while (!list_empty(&due)) {
        struct timer *t = LIST_FIRST(&due, struct timer, link);
        list_unlink(&t->link);
        t->fire(t);
    }
}

/* Flushing comes last, so that each stream is flushed once, with all that the turn brought. */
static void run_turn_ends(struct loop *l)
{
    while (!list_empty(&l->turn_ends) || !list_empty(&l->dirty)) {
        if (list_empty(&l->turn_ends)) {
            l->flush(l);
            continue;
        }
        struct turn_end *t = LIST_FIRST(&l->turn_ends, struct turn_end, link);
        list_unlink(&t->link);
        t->run(t);
    }
}

static void run_closing(struct loop *l)
{
    while (!list_empty(&l->closing)) {
        struct sock *s = LIST_FIRST(&l->closing, struct sock, link);
        list_unlink(&s->link);
        l->socks--;
        s->on->closed(s);
    }
}

void loop_turn(struct loop *l, bool may_wait)
{
    l->ops->poll(l, wait_ms(l, may_wait));
    run_posted(l);
    run_timers(l);
    run_turn_ends(l);
    run_closing(l);
    watch_memory(l);
}

int loop_accept_start(struct loop *l, struct acceptor *a)
{
    a->loop = l;
    a->bits = 0;
    a->backend = NULL;
    list_init(&a->link);
    return l->ops->accept_start(l, a);
}

void loop_accept_stop(struct loop *l, struct acceptor *a)
{
    l->ops->accept_stop(l, a);
    list_unlink(&a->link);
}

static void sock_init(struct loop *l, struct sock *s, int fd)
{
    s->loop = l;
    s->fd = fd;
    s->bits = 0;
    s->backend = NULL;
    list_init(&s->link);
}

int loop_adopt(struct loop *l, struct sock *s, int fd)
{
    sock_init(l, s, fd);
    int err = l->ops->adopt(l, s, fd);
    if (err == 0)
        l->socks++;
    return err;
}

int loop_connect(struct loop *l, struct sock *s, const struct addr *to)
{
    sock_init(l, s, -1);
    int err = l->ops->connect(l, s, to);
    if (err == 0)
        l->socks++;
    return err;
}

ssize_t sock_send(struct sock *s, const struct iovec *iov, int count)
{
    expect_dbg(!(s->bits & SOCK_CLOSING));
    return s->loop->ops->send(s, iov, count);
}

static void ask(struct sock *s, uint32_t bit)
{
    expect_dbg(!(s->bits & SOCK_CLOSING));
    s->bits |= bit;
    s->loop->ops->review(s);
}

void sock_want_writable(struct sock *s)
{
    ask(s, SOCK_WANTED);
}

void sock_offer(struct sock *s)
{
    ask(s, SOCK_OFFER);
}

void sock_pause(struct sock *s)
{
    s->bits |= SOCK_PAUSED;
}

void sock_resume(struct sock *s)
{
    s->bits &= ~(uint32_t)SOCK_PAUSED;
    ask(s, 0);
}

void sock_shutdown(struct sock *s)
{
    s->loop->ops->shutdown(s);
}

void sock_close(struct sock *s)
{
    must(!(s->bits & SOCK_CLOSING));
    s->bits |= SOCK_CLOSING;
    s->loop->ops->close(s);
    list_unlink(&s->link);
    list_append(&s->loop->closing, &s->link);
}

void timer_init(struct timer *t, void (*fire)(struct timer *))
{
    t->fire = fire;
    t->due = 0;
    list_init(&t->link);
}

void timer_start(struct loop *l, struct timer *t, uint64_t ms)
{
    list_unlink(&t->link);
    t->due = ms > UINT64_MAX - l->now ? UINT64_MAX : l->now + ms;
    /* A loop has a handful of timers, and a new one is mostly the latest: a sorted list needs no
     * memory and beats a heap there. Equal times keep the order in which they were started. */
    struct list *after = l->timers.prev;
    while (after != &l->timers && container_of(after, struct timer, link)->due > t->due)
        after = after->prev;
    list_append(after->next, &t->link);
}

void timer_stop(struct loop *l, struct timer *t)
{
    (void)l;
    list_unlink(&t->link);
}

void turn_end_init(struct turn_end *t, void (*run)(struct turn_end *))
{
    t->run = run;
    list_init(&t->link);
}

void loop_post(struct loop *l, struct task *t)
{
    struct task *head = atomic_load_explicit(&l->posted, memory_order_relaxed);
    do
        t->next = head;
    while (!atomic_compare_exchange_weak_explicit(&l->posted, &head, t, memory_order_release,
                                                  memory_order_relaxed));
    /* Who finds tasks before its own knows that their poster wakes, or has woken, the loop. */
    if (head == NULL)
        l->ops->wake(l);
}

int loop_lookup(struct loop *l, struct lookup *k, const char *host, uint16_t port)
{
    return l->ops->lookup(l, k, host, port);
}

void loop_lookup_cancel(struct loop *l, struct lookup *k)
{
    l->ops->lookup_cancel(l, k);
}
