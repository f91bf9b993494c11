/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/epoll.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/accept.h"
#include "io/kernel.h"
#include "io/resolve.h"

/* What the kernel told of a sock and we have not used up yet. An edge comes once, so it must be
 * remembered. */
enum {
    IN_READY = SOCK_BACKEND << 0,  /* there may be bytes (or an end) to receive */
    OUT_READY = SOCK_BACKEND << 1, /* there may be room to send */
    HANGUP =
        SOCK_BACKEND << 2, /* an end stands behind the bytes: a short read does not mean drained */
    FAILED = SOCK_BACKEND << 3,         /* the kernel holds an error */
    DEAD = SOCK_BACKEND << 4,           /* send met the error, so recv will not see it again */
    ENDED = SOCK_BACKEND << 5,          /* `ended` was reported */
    CONNECTING = SOCK_BACKEND << 6,     /* `connected` was not reported yet */
    CONNECT_FAILED = SOCK_BACKEND << 7, /* it was, with an error */
    OUT_WATCHED = SOCK_BACKEND << 8,    /* the kernel tells of room to send, too */
};

/* Acceptors: watched, or waiting for the end of the pause. */
enum { WATCHED = 1u << 0 };

struct epoll_loop {
    struct loop base;
    int epfd;
    int wakefd;
    struct list rescan; /* socks to look at in the next turn although no event comes for them */
    struct accepting accepting;
    struct resolver *resolver; /* made by the first look-up */
    int event;                 /* the one being handled */
    int events_len;
    struct epoll_event events[LOOP_EVENTS_PER_TURN];
    char scratch[LOOP_BYTES_PER_TURN];
};

/* What an event belongs to is told by the low bits of its pointer; everything pointed to is aligned
 * to 8. */
enum { TAG_SOCK = 0, TAG_ACCEPTOR = 1, TAG_WAKE = 2, TAG_NONE = 3, TAG_MASK = 3 };

static uint64_t tagged(const void *p, uint64_t tag)
{
    return (uint64_t)(uintptr_t)p | tag;
}

static struct epoll_loop *self(struct loop *l)
{
    return container_of(l, struct epoll_loop, base);
}

static int watch(struct epoll_loop *e, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event ev = {.events = events, .data.u64 = data};
    return epoll_ctl(e->epfd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

/* ---- listening ---- */

static int epoll_accept_start(struct loop *l, struct acceptor *a)
{
    /* Level-triggered, since a turn leaves connections waiting; exclusive, so that one does not
     * wake every worker. */
    int err = watch(self(l), a->fd, EPOLLIN | EPOLLEXCLUSIVE, tagged(a, TAG_ACCEPTOR));
    if (err == 0)
        a->bits |= WATCHED;
    return err;
}

static void acceptor_unwatch(struct epoll_loop *e, struct acceptor *a)
{
    if (a->bits & WATCHED)
        epoll_ctl(e->epfd, EPOLL_CTL_DEL, a->fd, NULL);
    a->bits &= ~(uint32_t)WATCHED;
    /* Its memory may be gone before the events of this turn that were already fetched are handled.
     */
    for (int i = e->event + 1; i < e->events_len; i++)
        if (e->events[i].data.u64 == tagged(a, TAG_ACCEPTOR))
            e->events[i].data.u64 = TAG_NONE;
}

static void epoll_accept_stop(struct loop *l, struct acceptor *a)
{
    acceptor_unwatch(self(l), a);
    accepting_stop(&self(l)->accepting, a);
}

static void acceptor_ready(struct epoll_loop *e, struct acceptor *a)
{
    if (accepting_take(&e->accepting, a) == ACCEPT_PAUSED)
        acceptor_unwatch(e, a);
}

/* ---- connections ---- */

static void rescan(struct sock *s)
{
    if (!list_linked(&s->link))
        list_append(&self(s->loop)->rescan, &s->link);
}

static int sock_watch(struct sock *s, uint32_t also)
{
    return watch(self(s->loop), s->fd, EPOLLIN | EPOLLRDHUP | EPOLLET | also, tagged(s, TAG_SOCK));
}

/* A new client has room, and an event that says so would be one for nothing. So room is watched
 * for from the first time on that somebody waits for it; with edges that costs nothing later. */
static void watch_room(struct sock *s)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                             .data.u64 = tagged(s, TAG_SOCK)};
    /* The kernel has all it needs for this since it watches the descriptor: it can't fail. */
    must(epoll_ctl(self(s->loop)->epfd, EPOLL_CTL_MOD, s->fd, &ev) == 0);
    s->bits |= OUT_WATCHED;
}

static int epoll_adopt(struct loop *l, struct sock *s, int fd)
{
    (void)l;
    s->fd = fd;
    return sock_watch(s, 0);
}

static int epoll_connect(struct loop *l, struct sock *s, const struct addr *to)
{
    (void)l;
    s->fd = kernel_connect(to);
    if (s->fd < 0)
        return s->fd;
    s->bits |= CONNECTING | OUT_WATCHED;
    int err = sock_watch(s, EPOLLOUT);
    if (err == 0)
        return 0;
    close(s->fd);
    s->fd = -1;
    return err;
}

static ssize_t epoll_send(struct sock *s, const struct iovec *iov, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    ssize_t n = kernel_send(s->fd, iov, count);
    if (n >= 0 && (size_t)n == total)
        return n;
    s->bits &= ~(uint32_t)OUT_READY;
    if (n < 0 && n != -EAGAIN)
        s->bits |= DEAD;
    return n;
}

static void epoll_review(struct sock *s)
{
    if ((s->bits & (SOCK_WANTED | OUT_WATCHED)) == SOCK_WANTED)
        watch_room(s);
    bool in = (s->bits & (SOCK_OFFER | IN_READY)) && !(s->bits & SOCK_PAUSED);
    bool out = (s->bits & SOCK_WANTED) && (s->bits & OUT_READY);
    if (in || out)
        rescan(s);
}

static void epoll_shutdown(struct sock *s)
{
    shutdown(s->fd, SHUT_WR);
}

static void epoll_close(struct sock *s)
{
    /* This also ends the watching, for nobody else holds the descriptor. */
    close(s->fd);
    s->fd = -1;
}

static void end_connect(struct sock *s)
{
    int err = kernel_connected(s->fd);
    s->bits &= ~(uint32_t)CONNECTING;
    if (err != 0)
        s->bits |= CONNECT_FAILED;
    s->on->connected(s, err);
}

static void end(struct sock *s, int err)
{
    s->bits |= ENDED;
    s->bits &= ~(uint32_t)IN_READY;
    s->on->ended(s, err);
}

/* Receives once, at most `max` bytes. Returns what is left of `max`, or 0 if there is nothing to go
 * on with. */
static size_t receive(struct epoll_loop *e, struct sock *s, size_t max)
{
    ssize_t n = recv(s->fd, e->scratch, max, 0);
    if (n > 0) {
        /* A short read has drained the socket: what comes later brings an edge of its own. */
        bool drained = (size_t)n < max && !(s->bits & HANGUP);
        if (drained)
            s->bits &= ~(uint32_t)IN_READY;
        s->on->recv(s, span_of(e->scratch, (size_t)n));
        return drained ? 0 : max - (size_t)n;
    }
    if (n == 0) {
        end(s, s->bits & DEAD ? -ECONNRESET : 0);
    } else if (errno == EAGAIN) {
        s->bits &= ~(uint32_t)IN_READY;
    } else if (errno != EINTR) {
        end(s, -errno);
    } else {
        return max;
    }
    return 0;
}

static bool may_receive(const struct sock *s)
{
    return (s->bits & (IN_READY | SOCK_PAUSED | SOCK_CLOSING)) == IN_READY;
}

static void receive_turn(struct epoll_loop *e, struct sock *s)
{
    size_t left = sizeof(e->scratch);
    while (left > 0 && may_receive(s))
        left = receive(e, s, left);
    if (may_receive(s))
        rescan(s);
}

/* A paused sock is not read, so a broken connection must be told apart from an orderly end, which
 * waits, and of which the owner only hears. */
static void check_paused(struct sock *s)
{
    if ((s->bits & (HANGUP | SOCK_PAUSED | SOCK_CLOSING | ENDED)) != (HANGUP | SOCK_PAUSED))
        return;
    int err = s->bits & FAILED ? kernel_error(s->fd) : 0;
    s->bits &= ~(uint32_t)FAILED;
    if (err != 0)
        end(s, err);
    else if (!(s->bits & SOCK_LEFT))
        sock_report_left(s);
}

static void offer(struct sock *s)
{
    if ((s->bits & (SOCK_OFFER | SOCK_PAUSED | SOCK_CLOSING)) != SOCK_OFFER)
        return;
    s->bits &= ~(uint32_t)SOCK_OFFER;
    s->on->recv(s, SPAN(""));
}

static void writable(struct sock *s)
{
    const uint32_t ready = SOCK_WANTED | OUT_READY;
    if ((s->bits & (ready | SOCK_CLOSING)) != ready)
        return;
    s->bits &= ~(uint32_t)SOCK_WANTED;
    s->on->writable(s);
}

/* Reports all that can be reported of a sock. It is not freed before the end of the turn, whatever
 * the callbacks do. */
static void sock_ready(struct epoll_loop *e, struct sock *s)
{
    list_unlink(&s->link);
    if (s->bits & CONNECTING) {
        if (!(s->bits & (OUT_READY | HANGUP)))
            return;
        end_connect(s);
    }
    if (s->bits & (CONNECT_FAILED | SOCK_CLOSING))
        return;
    offer(s);
    receive_turn(e, s);
    check_paused(s);
    writable(s);
}

static void sock_event(struct epoll_loop *e, struct sock *s, uint32_t events)
{
    /* It may have been closed by a callback of this turn: then its `closed` comes when the turn
     * ends. */
    if (s->bits & SOCK_CLOSING)
        return;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->bits |= HANGUP;
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) && !(s->bits & ENDED))
        s->bits |= IN_READY;
    if (events & EPOLLERR)
        s->bits |= FAILED;
    if (events & EPOLLOUT)
        s->bits |= OUT_READY;
    sock_ready(e, s);
}

/* ---- the turn ---- */

static void dispatch(struct epoll_loop *e, const struct epoll_event *ev)
{
    void *p = (void *)(uintptr_t)(ev->data.u64 & ~(uint64_t)TAG_MASK);
    switch (ev->data.u64 & TAG_MASK) {
    case TAG_SOCK:
        sock_event(e, p, ev->events);
        break;
    case TAG_ACCEPTOR:
        acceptor_ready(e, p);
        break;
    default: /* a wake-up has done its work; a stopped acceptor wants nothing */
        break;
    }
}

static void epoll_poll(struct loop *l, int ms)
{
    struct epoll_loop *e = self(l);
    int n = epoll_wait(e->epfd, e->events, LOOP_EVENTS_PER_TURN, list_empty(&e->rescan) ? ms : 0);
    l->now = clock_ms();
    /* What callbacks put on the list from here on is for the next turn. */
    struct list again;
    list_move(&again, &e->rescan);
    e->events_len = n < 0 ? 0 : n;
    for (e->event = 0; e->event < e->events_len; e->event++)
        dispatch(e, &e->events[e->event]);
    e->events_len = 0;
    while (!list_empty(&again))
        sock_ready(e, LIST_FIRST(&again, struct sock, link));
}

static void epoll_wake(struct loop *l)
{
    const uint64_t one = 1;
    /* It can fail only when the counter is full, and then the loop is awake anyway. */
    ssize_t n = write(self(l)->wakefd, &one, sizeof(one));
    (void)n;
}

static int epoll_lookup(struct loop *l, struct lookup *k, const char *host, uint16_t port)
{
    return resolver_lookup(&self(l)->resolver, l, k, host, port);
}

static void epoll_lookup_cancel(struct loop *l, struct lookup *k)
{
    (void)l;
    resolver_cancel(k);
}

static void epoll_free(struct loop *l)
{
    struct epoll_loop *e = self(l);
    resolver_free(e->resolver);
    if (e->wakefd >= 0)
        close(e->wakefd);
    if (e->epfd >= 0)
        close(e->epfd);
    free(e);
}

static struct loop *epoll_open(void)
{
    struct epoll_loop *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return NULL;
    list_init(&e->rescan);
    accepting_init(&e->accepting, &e->base, epoll_accept_start);
    e->base.now = clock_ms();
    e->epfd = epoll_create1(EPOLL_CLOEXEC);
    e->wakefd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    /* Every write to the eventfd is an edge, so it need not be read. */
    if (e->epfd >= 0 && e->wakefd >= 0 &&
        watch(e, e->wakefd, EPOLLIN | EPOLLET, tagged(NULL, TAG_WAKE)) == 0)
        return &e->base;
    int err = errno;
    epoll_free(&e->base);
    errno = err;
    return NULL;
}

const struct loop_ops epoll_ops = {
    .name = "epoll",
    .open = epoll_open,
    .free = epoll_free,
    .poll = epoll_poll,
    .wake = epoll_wake,
    .accept_start = epoll_accept_start,
    .accept_stop = epoll_accept_stop,
    .adopt = epoll_adopt,
    .connect = epoll_connect,
    .send = epoll_send,
    .review = epoll_review,
    .shutdown = epoll_shutdown,
    .close = epoll_close,
    .lookup = epoll_lookup,
    .lookup_cancel = epoll_lookup_cancel,
};
