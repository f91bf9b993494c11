/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/sim.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum { FIRST_FD = 1 << 20, ACCEPTS_PER_TURN = 8, ACCEPT_PAUSE_MS = 100, NAME_ADDRS = 4 };
enum { NEVER = 1 };

enum {
    CONNECTING = SOCK_BACKEND << 0,
    CONNECT_FAILED = SOCK_BACKEND << 1,
    ENDED = SOCK_BACKEND << 2, /* `ended` was reported */
};

/* Acceptors. */
enum { WATCHED = 1u << 0 };

struct sim_peer {
    struct sim *sim;
    struct sock *sock;         /* NULL: not adopted yet, or gone */
    struct acceptor *acceptor; /* waiting to be accepted there */
    struct sim_listener *listener;
    int fd;
    int connect_err;
    uint64_t connect_due;
    struct buf in;  /* to the near end */
    struct buf out; /* from the near end */
    ptrdiff_t cut;
    ptrdiff_t each;
    ptrdiff_t room;
    bool fin;    /* the far end sends no more */
    bool closed; /* ... and receives no more */
    int reset;   /* the connection broke with this */
    bool near_fin;
    bool near_gone;
    bool news; /* for on_bytes */
    void (*on_bytes)(struct sim_peer *p, void *context);
    void *context;
};

struct sim_listener {
    struct sim_listener *next;
    struct sim *sim;
    struct addr at;
    int err;
    uint64_t ms;
    void (*on_peer)(struct sim_peer *p, void *context);
    void *context;
};

struct sim_name {
    struct sim_name *next;
    char *host;
    uint64_t ms;
    int err;
    size_t count;
    struct addr addrs[NAME_ADDRS];
};

struct sim_query {
    struct list link;
    struct lookup *owner;
    uint64_t due;
    int err;
    size_t count;
    struct addr addrs[NAME_ADDRS];
};

struct failure {
    unsigned skip;
    unsigned count;
    int err;
};

struct sim {
    struct loop base;
    struct sim_peer **peers; /* the fd of the near end tells the place: FIRST_FD is the first */
    size_t peers_len;
    size_t peers_cap;
    size_t first; /* to look at in the next turn */
    struct list queries;
    struct sim_listener *listeners;
    struct sim_name *names;
    struct failure failures[SIM_CALLS];
    uint64_t accept_due; /* no accept before */
    ptrdiff_t cut;
    ptrdiff_t each;
    ptrdiff_t room;
    unsigned events; /* reported in this turn */
};

static struct sim *self(struct loop *l)
{
    return container_of(l, struct sim, base);
}

/* 0, or what the test wants this call to fail with. */
static int failure(struct sim *m, enum sim_call call)
{
    struct failure *f = &m->failures[call];
    if (f->count == 0)
        return 0;
    if (f->skip > 0) {
        f->skip--;
        return 0;
    }
    f->count--;
    return f->err;
}

static size_t at_most(size_t n, ptrdiff_t limit)
{
    return limit >= 0 && n > (size_t)limit ? (size_t)limit : n;
}

/* ---- what the near end may be told ---- */

static bool connect_ready(const struct sim_peer *p)
{
    return (p->sock->bits & CONNECTING) && p->connect_err != NEVER &&
           p->connect_due <= p->sim->base.now;
}

static bool offer_ready(const struct sim_peer *p)
{
    return (p->sock->bits & (SOCK_OFFER | SOCK_PAUSED)) == SOCK_OFFER;
}

static bool recv_ready(const struct sim_peer *p)
{
    return !(p->sock->bits & (SOCK_PAUSED | ENDED)) && p->reset == 0 && buf_len(&p->in) > 0 &&
           p->cut != 0;
}

static bool end_ready(const struct sim_peer *p)
{
    if (p->sock->bits & ENDED)
        return false;
    return p->reset != 0 || (p->fin && buf_len(&p->in) == 0 && !(p->sock->bits & SOCK_PAUSED));
}

static bool left_ready(const struct sim_peer *p)
{
    return p->fin && p->reset == 0 &&
           (p->sock->bits & (SOCK_PAUSED | ENDED | SOCK_LEFT)) == SOCK_PAUSED;
}

static bool writable_ready(const struct sim_peer *p)
{
    return (p->sock->bits & SOCK_WANTED) && (p->room != 0 || p->closed || p->reset != 0) &&
           p->each != 0;
}

static bool sock_waits(const struct sim_peer *p)
{
    if (p->sock == NULL || (p->sock->bits & (SOCK_CLOSING | CONNECT_FAILED)))
        return false;
    if (p->sock->bits & CONNECTING)
        return connect_ready(p);
    return offer_ready(p) || recv_ready(p) || end_ready(p) || left_ready(p) || writable_ready(p);
}

static bool accept_waits(const struct sim_peer *p)
{
    return p->acceptor != NULL && p->sim->accept_due <= p->sim->base.now;
}

static bool news_wait(const struct sim_peer *p)
{
    return p->news && p->on_bytes != NULL;
}

/* ---- telling it ---- */

static void report_connect(struct sim_peer *p)
{
    struct sock *s = p->sock;
    s->bits &= ~(uint32_t)CONNECTING;
    if (p->connect_err != 0)
        s->bits |= CONNECT_FAILED;
    else if (p->listener->on_peer != NULL)
        p->listener->on_peer(p, p->listener->context);
    s->on->connected(s, p->connect_err);
}

static void report_recv(struct sim_peer *p)
{
    size_t n = at_most(buf_len(&p->in), p->cut);
    if (n > LOOP_BYTES_PER_TURN)
        n = LOOP_BYTES_PER_TURN;
    /* The bytes get memory of their own for the time of the call, so that a sanitizer sees who
     * keeps them. */
    char *lent = malloc(n);
    if (lent == NULL) {
        sim_peer_reset(p, -ENOMEM); /* as a kernel that has none: the connection is lost */
        return;
    }
    memcpy(lent, buf_span(&p->in).ptr, n);
    buf_consume(&p->in, n);
    p->sock->on->recv(p->sock, span_of(lent, n));
    free(lent);
}

static bool told_enough(const struct sim_peer *p)
{
    return p->sock == NULL || (p->sock->bits & (SOCK_CLOSING | CONNECT_FAILED));
}

/* The order is that of the epoll loop. */
static void report(struct sim_peer *p)
{
    if (connect_ready(p))
        report_connect(p);
    if (!told_enough(p) && offer_ready(p)) {
        p->sock->bits &= ~(uint32_t)SOCK_OFFER;
        p->sock->on->recv(p->sock, SPAN(""));
    }
    if (!told_enough(p) && recv_ready(p))
        report_recv(p);
    if (!told_enough(p) && end_ready(p)) {
        p->sock->bits |= ENDED;
        p->sock->on->ended(p->sock, p->reset);
    }
    if (!told_enough(p) && left_ready(p))
        sock_report_left(p->sock);
    if (!told_enough(p) && writable_ready(p)) {
        p->sock->bits &= ~(uint32_t)SOCK_WANTED;
        p->sock->on->writable(p->sock);
    }
}

static void accept_one(struct sim *m, struct sim_peer *p)
{
    int err = failure(m, SIM_ACCEPT);
    if (err != 0) {
        m->accept_due = m->base.now + ACCEPT_PAUSE_MS;
        return;
    }
    struct acceptor *a = p->acceptor;
    p->acceptor = NULL;
    a->accepted(a, p->fd);
}

static void play_far_end(struct sim_peer *p)
{
    p->news = false;
    p->on_bytes(p, p->context);
}

static void peer_turn(struct sim *m, struct sim_peer *p, unsigned *accepts)
{
    if (m->events >= LOOP_EVENTS_PER_TURN)
        return;
    if (news_wait(p))
        play_far_end(p);
    if (accept_waits(p) && *accepts < ACCEPTS_PER_TURN) {
        ++*accepts;
        ++m->events;
        accept_one(m, p);
    } else if (sock_waits(p)) {
        ++m->events;
        report(p);
    }
}

static void report_queries(struct sim *m)
{
    struct list all;
    list_move(&all, &m->queries);
    while (!list_empty(&all)) {
        struct sim_query *q = LIST_FIRST(&all, struct sim_query, link);
        struct lookup *owner = q->owner;
        list_unlink(&q->link);
        if (owner != NULL && q->due > m->base.now) {
            list_append(&m->queries, &q->link);
            continue;
        }
        if (owner != NULL) {
            owner->backend = NULL;
            owner->done(owner, q->err, q->addrs, q->count);
        }
        free(q);
    }
}

/* ---- the turn ---- */

/* When the next thing happens by itself: now, later, or UINT64_MAX. */
static uint64_t next_due(const struct sim *m)
{
    uint64_t due = UINT64_MAX;
    for (size_t i = 0; i < m->peers_len; i++) {
        const struct sim_peer *p = m->peers[i];
        if (news_wait(p) || sock_waits(p) || accept_waits(p))
            return m->base.now;
        if (p->acceptor != NULL && m->accept_due < due)
            due = m->accept_due;
        bool connecting =
            p->sock != NULL && (p->sock->bits & CONNECTING) && p->connect_err != NEVER;
        if (connecting && p->connect_due < due)
            due = p->connect_due;
    }
    LIST_FOREACH (it, &m->queries) {
        const struct sim_query *q = container_of(it, struct sim_query, link);
        if (q->owner != NULL && q->due < due)
            due = q->due;
    }
    return due;
}

static void pass_time(struct sim *m, int ms)
{
    uint64_t due = next_due(m);
    if (due <= m->base.now || ms == 0)
        return;
    if (ms > 0 && due > m->base.now + (uint64_t)ms)
        due = m->base.now + (uint64_t)ms;
    if (due == UINT64_MAX)
        m->base.stopping = true; /* a real loop would wait for ever */
    else
        m->base.now = due;
}

static void sim_poll(struct loop *l, int ms)
{
    struct sim *m = self(l);
    pass_time(m, ms);
    m->events = 0;
    unsigned accepts = 0;
    /* Those that are made meanwhile are for the next turn; and who was not reached in this one is
     * the first then. */
    size_t len = m->peers_len;
    size_t first = m->first;
    for (size_t i = 0; i < len && m->events < LOOP_EVENTS_PER_TURN; i++) {
        m->first = (first + i + 1) % len;
        peer_turn(m, m->peers[(first + i) % len], &accepts);
    }
    if (m->events < LOOP_EVENTS_PER_TURN)
        m->first = 0;
    report_queries(m);
}

static bool nothing_to_do(struct sim *m)
{
    const struct loop *l = &m->base;
    bool timer =
        !list_empty(&l->timers) && LIST_FIRST(&l->timers, struct timer, link)->due <= l->now;
    return !timer && list_empty(&l->closing) && list_empty(&l->turn_ends) &&
           list_empty(&l->dirty) && atomic_load(&l->posted) == NULL && next_due(m) > l->now;
}

void sim_settle(struct loop *l)
{
    while (!nothing_to_do(self(l)))
        loop_turn(l, false);
}

void sim_advance(struct loop *l, uint64_t ms)
{
    uint64_t end = l->now + ms;
    sim_settle(l);
    while (l->now < end) {
        uint64_t due = next_due(self(l));
        if (!list_empty(&l->timers) && LIST_FIRST(&l->timers, struct timer, link)->due < due)
            due = LIST_FIRST(&l->timers, struct timer, link)->due;
        l->now = due < end ? due : end;
        sim_settle(l);
    }
}

/* ---- connections ---- */

static struct sim_peer *peer_new(struct sim *m)
{
    if (m->peers_len == m->peers_cap) {
        size_t cap = m->peers_cap * 2 + 16;
        struct sim_peer **more = realloc(m->peers, cap * sizeof(struct sim_peer *));
        if (more == NULL)
            return NULL;
        m->peers = more;
        m->peers_cap = cap;
    }
    struct sim_peer *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->sim = m;
    p->fd = FIRST_FD + (int)m->peers_len;
    p->cut = m->cut;
    p->each = m->each;
    p->room = m->room;
    m->peers[m->peers_len++] = p;
    return p;
}

static struct sim_peer *peer_of(struct loop *l, int fd)
{
    struct sim *m = self(l);
    must(fd >= FIRST_FD && (size_t)(fd - FIRST_FD) < m->peers_len);
    return m->peers[fd - FIRST_FD];
}

struct sim_peer *sim_pair(struct loop *l, int *fd)
{
    struct sim_peer *p = peer_new(self(l));
    if (p != NULL)
        *fd = p->fd;
    return p;
}

struct sim_peer *sim_client(struct loop *l, struct acceptor *a)
{
    struct sim_peer *p = peer_new(self(l));
    if (p != NULL && (a->bits & WATCHED))
        p->acceptor = a;
    return p;
}

static int sim_accept_start(struct loop *l, struct acceptor *a)
{
    (void)l;
    a->bits |= WATCHED;
    return 0;
}

static void sim_accept_stop(struct loop *l, struct acceptor *a)
{
    struct sim *m = self(l);
    a->bits = 0;
    for (size_t i = 0; i < m->peers_len; i++)
        if (m->peers[i]->acceptor == a)
            m->peers[i]->acceptor = NULL;
}

static int sim_adopt(struct loop *l, struct sock *s, int fd)
{
    int err = failure(self(l), SIM_ADOPT);
    if (err != 0)
        return err;
    struct sim_peer *p = peer_of(l, fd);
    must(p->sock == NULL && !p->near_gone);
    p->sock = s;
    return 0;
}

static bool same_addr(const struct addr *a, const struct addr *b)
{
    char x[ADDR_TEXT];
    char y[ADDR_TEXT];
    return strcmp(addr_text(a, x), addr_text(b, y)) == 0;
}

static struct sim_listener *listener_at(struct sim *m, const struct addr *at)
{
    struct sim_listener *s = m->listeners;
    while (s != NULL && !same_addr(&s->at, at))
        s = s->next;
    return s;
}

static int sim_connect(struct loop *l, struct sock *s, const struct addr *to)
{
    struct sim *m = self(l);
    int err = failure(m, SIM_CONNECT);
    if (err != 0)
        return err;
    struct sim_peer *p = peer_new(m);
    if (p == NULL)
        return -ENOMEM;
    p->sock = s;
    p->listener = listener_at(m, to);
    p->connect_err = p->listener == NULL ? -ECONNREFUSED : p->listener->err;
    p->connect_due = m->base.now + (p->listener == NULL ? 0 : p->listener->ms);
    s->fd = p->fd;
    s->bits |= CONNECTING;
    return 0;
}

/* What the connection takes of `total` bytes, or why not. */
static ssize_t send_takes(const struct sim_peer *p, size_t total)
{
    if (p->sock->bits & CONNECTING)
        return -EAGAIN;
    if (p->reset != 0)
        return p->reset;
    if (p->closed || p->near_fin)
        return -EPIPE;
    size_t n = at_most(at_most(total, p->each), p->room);
    return n == 0 && total > 0 ? -EAGAIN : (ssize_t)n;
}

static ssize_t sim_send(struct sock *s, const struct iovec *iov, int count)
{
    struct sim_peer *p = peer_of(s->loop, s->fd);
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    int err = failure(p->sim, SIM_SEND);
    ssize_t taken = err != 0 ? err : send_takes(p, total);
    if (taken <= 0)
        return taken;
    if (!buf_reserve(&p->out, (size_t)taken))
        return -ENOBUFS;
    size_t left = (size_t)taken;
    for (int i = 0; left > 0; i++) {
        size_t n = iov[i].iov_len < left ? iov[i].iov_len : left;
        must(buf_append(&p->out, span_of(iov[i].iov_base, n)));
        left -= n;
    }
    if (p->room >= 0)
        p->room -= taken;
    p->news = true;
    return taken;
}

static void sim_review(struct sock *s)
{
    (void)s; /* every turn looks at every sock */
}

static void sim_shutdown(struct sock *s)
{
    struct sim_peer *p = peer_of(s->loop, s->fd);
    p->near_fin = true;
    p->news = true;
}

static void sim_close(struct sock *s)
{
    struct sim_peer *p = peer_of(s->loop, s->fd);
    p->sock = NULL;
    p->near_fin = true;
    p->near_gone = true;
    p->news = true;
    buf_free(&p->in);
}

/* ---- listeners ---- */

struct sim_listener *sim_listen(struct loop *l, const struct addr *at,
                                void (*on_peer)(struct sim_peer *p, void *context), void *context)
{
    struct sim *m = self(l);
    struct sim_listener *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->at = *at;
    s->on_peer = on_peer;
    s->context = context;
    s->next = m->listeners;
    s->sim = m;
    m->listeners = s;
    return s;
}

void sim_listener_set(struct sim_listener *s, int err, uint64_t ms)
{
    s->err = err;
    s->ms = ms;
}

struct sim_peer *sim_listener_peer(const struct sim_listener *s, size_t n)
{
    const struct sim *m = s->sim;
    for (size_t i = 0; i < m->peers_len; i++)
        if (m->peers[i]->listener == s && n-- == 0)
            return m->peers[i];
    return NULL;
}

size_t sim_listener_count(const struct sim_listener *s)
{
    size_t n = 0;
    while (sim_listener_peer(s, n) != NULL)
        n++;
    return n;
}

/* ---- the far end ---- */

bool sim_peer_send(struct sim_peer *p, struct span bytes)
{
    if (p->fin || p->reset != 0 || p->near_gone)
        return false;
    return buf_append(&p->in, bytes);
}

struct span sim_peer_received(const struct sim_peer *p)
{
    return buf_span(&p->out);
}

void sim_peer_drop(struct sim_peer *p, size_t n)
{
    buf_consume(&p->out, n);
}

void sim_peer_on(struct sim_peer *p, void (*on_bytes)(struct sim_peer *p, void *context),
                 void *context)
{
    p->on_bytes = on_bytes;
    p->context = context;
}

void sim_peer_half_close(struct sim_peer *p)
{
    p->fin = true;
}

void sim_peer_close(struct sim_peer *p)
{
    p->fin = true;
    p->closed = true;
}

void sim_peer_reset(struct sim_peer *p, int err)
{
    p->reset = err;
    buf_free(&p->in);
}

bool sim_peer_ended(const struct sim_peer *p)
{
    return p->near_fin;
}

bool sim_peer_gone(const struct sim_peer *p)
{
    return p->near_gone;
}

void sim_peer_cut(struct sim_peer *p, ptrdiff_t n)
{
    p->cut = n;
}

void sim_peer_limit(struct sim_peer *p, ptrdiff_t each, ptrdiff_t room)
{
    p->each = each;
    p->room = room;
}

void sim_peer_room(struct sim_peer *p, size_t n)
{
    if (p->room >= 0)
        p->room += (ptrdiff_t)n;
}

void sim_defaults(struct loop *l, ptrdiff_t cut, ptrdiff_t each, ptrdiff_t room)
{
    struct sim *m = self(l);
    m->cut = cut;
    m->each = each;
    m->room = room;
}

void sim_fail(struct loop *l, enum sim_call call, unsigned skip, unsigned count, int err)
{
    self(l)->failures[call] = (struct failure){.skip = skip, .count = count, .err = err};
}

/* ---- names ---- */

static struct sim_name *name_of(struct sim *m, const char *host)
{
    struct sim_name *n = m->names;
    while (n != NULL && strcmp(n->host, host) != 0)
        n = n->next;
    return n;
}

static struct sim_name *name_new(struct sim *m, const char *host)
{
    struct sim_name *n = calloc(1, sizeof(*n));
    if (n == NULL)
        return NULL;
    n->host = strdup(host);
    if (n->host == NULL) {
        free(n);
        return NULL;
    }
    n->next = m->names;
    m->names = n;
    return n;
}

bool sim_name(struct loop *l, const char *host, uint64_t ms, int err, const struct addr *addrs,
              size_t count)
{
    struct sim_name *n = name_of(self(l), host);
    if (n == NULL)
        n = name_new(self(l), host);
    if (n == NULL)
        return false;
    must(count <= NAME_ADDRS);
    n->ms = ms;
    n->err = err;
    n->count = count;
    if (count > 0)
        memcpy(n->addrs, addrs, count * sizeof(*addrs));
    return true;
}

static void set_port(struct addr *a, uint16_t port)
{
    /* The port stands at the same place in both kinds of address. */
    struct sockaddr_in in;
    if (addr_is_unix(a))
        return;
    memcpy(&in, &a->u, sizeof(in));
    in.sin_port = htons(port);
    memcpy(&a->u, &in, sizeof(in));
}

static int sim_lookup(struct loop *l, struct lookup *k, const char *host, uint16_t port)
{
    struct sim *m = self(l);
    int err = failure(m, SIM_LOOKUP);
    if (err != 0)
        return err;
    struct sim_query *q = calloc(1, sizeof(*q));
    if (q == NULL)
        return -ENOMEM;
    const struct sim_name *n = name_of(m, host);
    q->owner = k;
    q->due = l->now + (n == NULL ? 0 : n->ms);
    q->err = n == NULL ? EAI_NONAME : n->err;
    q->count = n == NULL ? 0 : n->count;
    if (n != NULL)
        memcpy(q->addrs, n->addrs, sizeof(q->addrs));
    for (size_t i = 0; i < q->count; i++)
        set_port(&q->addrs[i], port);
    list_append(&m->queries, &q->link);
    k->backend = q;
    return 0;
}

static void sim_lookup_cancel(struct loop *l, struct lookup *k)
{
    (void)l;
    struct sim_query *q = k->backend;
    k->backend = NULL;
    if (q != NULL)
        q->owner = NULL;
}

/* ---- begin and end ---- */

static void sim_wake(struct loop *l)
{
    (void)l; /* it never sleeps */
}

static struct loop *sim_open(void)
{
    struct sim *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    list_init(&m->queries);
    sim_defaults(&m->base, SIM_UNLIMITED, SIM_UNLIMITED, SIM_UNLIMITED);
    m->base.now = 1000000;
    return &m->base;
}

static void free_peers(struct sim *m)
{
    for (size_t i = 0; i < m->peers_len; i++) {
        buf_free(&m->peers[i]->in);
        buf_free(&m->peers[i]->out);
        free(m->peers[i]);
    }
    free(m->peers);
}

static void sim_free(struct loop *l)
{
    struct sim *m = self(l);
    free_peers(m);
    while (m->listeners != NULL) {
        struct sim_listener *s = m->listeners;
        m->listeners = s->next;
        free(s);
    }
    while (m->names != NULL) {
        struct sim_name *n = m->names;
        m->names = n->next;
        free(n->host);
        free(n);
    }
    LIST_FOREACH_SAFE (it, &m->queries) {
        struct sim_query *q = container_of(it, struct sim_query, link);
        must(q->owner == NULL); /* a look-up that nobody waited for or cancelled */
        free(q);
    }
    free(m);
}

const struct loop_ops sim_ops = {
    .name = "sim",
    .open = sim_open,
    .free = sim_free,
    .poll = sim_poll,
    .wake = sim_wake,
    .accept_start = sim_accept_start,
    .accept_stop = sim_accept_stop,
    .adopt = sim_adopt,
    .connect = sim_connect,
    .send = sim_send,
    .review = sim_review,
    .shutdown = sim_shutdown,
    .close = sim_close,
    .lookup = sim_lookup,
    .lookup_cancel = sim_lookup_cancel,
};
