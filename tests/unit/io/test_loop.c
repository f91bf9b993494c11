/* SPDX-License-Identifier: BSD-3-Clause */
/* What a loop promises, on every backend. */
#include "rig.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { NODES = 4 };

struct node {
    struct sock sock;
    struct rig *rig;
    struct far far;
    bool used;
    int near_fd;
    struct buf got;
    int recvs;
    int connected;
    int connect_err;
    int ended;
    int end_err;
    int writables;
    int closed;
    int left;
    size_t largest; /* recv */
    void (*in_recv)(struct node *n);
    void (*in_ended)(struct node *n);
    void (*in_writable)(struct node *n);
    void (*in_closed)(struct node *n);
    struct node *other;
};

struct bench {
    struct rig rig;
    struct node nodes[NODES];
    char dir[64];
};

/* No callback may come from inside a call. */
static bool inside;

#define CALL(what)                                                                                 \
    do {                                                                                           \
        inside = true;                                                                             \
        what;                                                                                      \
        inside = false;                                                                            \
    } while (0)

static struct node *node_of(struct sock *s)
{
    struct node *n = container_of(s, struct node, sock);
    assert_false(inside);
    assert_int_equal(n->closed, 0);
    return n;
}

static void on_connected(struct sock *s, int err)
{
    struct node *n = node_of(s);
    n->connected++;
    n->connect_err = err;
}

static void on_recv(struct sock *s, struct span in)
{
    struct node *n = node_of(s);
    n->recvs++;
    if (in.len > n->largest)
        n->largest = in.len;
    assert_true(buf_append(&n->got, in));
    if (n->in_recv != NULL)
        n->in_recv(n);
}

static void on_ended(struct sock *s, int err)
{
    struct node *n = node_of(s);
    n->ended++;
    n->end_err = err;
    if (n->in_ended != NULL)
        n->in_ended(n);
}

static void on_writable(struct sock *s)
{
    struct node *n = node_of(s);
    n->writables++;
    if (n->in_writable != NULL)
        n->in_writable(n);
}

static void on_closed(struct sock *s)
{
    struct node *n = node_of(s);
    n->closed++;
    if (n->in_closed != NULL)
        n->in_closed(n);
}

static void on_left(struct sock *s)
{
    struct node *n = node_of(s);
    n->left++;
    assert_int_equal(n->ended, 0);
}

static const struct sock_events events = {on_connected, on_recv,   on_ended,
                                          on_writable,  on_closed, on_left};

static void node_close(struct node *n)
{
    CALL(sock_close(&n->sock));
    n->used = false;
}

static void node_close_other(struct node *n)
{
    if (n->other->used)
        node_close(n->other);
}

static void node_adopt(struct rig *r, struct node *n)
{
    *n = (struct node){.rig = r, .sock.on = &events};
    far_pair(r, &n->far, &n->near_fd);
    CALL(assert_int_equal(loop_adopt(r->l, &n->sock, n->near_fd), 0));
    n->used = true;
}

/* A node over an adopted connection. */
static struct node *adopted(struct bench *b, size_t i)
{
    node_adopt(&b->rig, &b->nodes[i]);
    return &b->nodes[i];
}

static int setup(void **state)
{
    const struct variant *v = *state;
    struct bench *b = calloc(1, sizeof(*b));
    inside = false;
    if (b == NULL)
        return -1;
    snprintf(b->dir, sizeof(b->dir), "/tmp/cashew-io-XXXXXX");
    if (mkdtemp(b->dir) == NULL || rig_open(&b->rig, v) != 0)
        return -1;
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    inside = false;
    for (size_t i = 0; i < NODES; i++)
        if (b->nodes[i].used)
            node_close(&b->nodes[i]);
    UNTIL(&b->rig, b->rig.l->socks == 0);
    loop_free(b->rig.l);
    for (size_t i = 0; i < NODES; i++) {
        buf_free(&b->nodes[i].got);
        if (b->nodes[i].far.rig != NULL)
            far_free(&b->nodes[i].far);
    }
    rmdir(b->dir);
    free(b);
    return 0;
}

static ssize_t send_span(struct node *n, struct span s)
{
    const struct iovec iov[2] = {
        {.iov_base = (void *)(uintptr_t)s.ptr, .iov_len = s.len / 2},
        {.iov_base = (void *)(uintptr_t)(s.ptr + s.len / 2), .iov_len = s.len - s.len / 2},
    };
    ssize_t r;
    CALL(r = sock_send(&n->sock, iov, 2));
    return r;
}

static void assert_span(struct span got, struct span want)
{
    assert_int_equal(got.len, want.len);
    assert_true(span_eq(got, want));
}

/* ---- receiving and sending ---- */

static void receives(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    rig_idle(&b->rig);
    assert_int_equal(n->recvs, 0);
    far_send(&n->far, SPAN("hello"));
    UNTIL(&b->rig, buf_len(&n->got) == 5);
    far_send(&n->far, SPAN(" world"));
    UNTIL(&b->rig, buf_len(&n->got) == 11);
    assert_span(buf_span(&n->got), SPAN("hello world"));
    assert_int_equal(n->ended + n->writables + n->connected + n->closed, 0);
}

static void receives_what_came_before(void **state)
{
    struct bench *b = *state;
    struct node *n = &b->nodes[0];
    *n = (struct node){.rig = &b->rig, .sock.on = &events};
    far_pair(&b->rig, &n->far, &n->near_fd);
    far_send(&n->far, SPAN("early"));
    far_half_close(&n->far);
    CALL(assert_int_equal(loop_adopt(b->rig.l, &n->sock, n->near_fd), 0));
    n->used = true;
    UNTIL(&b->rig, n->ended == 1);
    assert_span(buf_span(&n->got), SPAN("early"));
}

static void sends(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    assert_int_equal(send_span(n, SPAN("hello world")), 11);
    UNTIL(&b->rig, far_got(&n->far).len == 11);
    assert_span(far_got(&n->far), SPAN("hello world"));
}

/* Much is received whole, but not more than LOOP_BYTES_PER_TURN in a turn. */
static void receives_much(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    struct span much = rig_pattern(1000000);
    far_send(&n->far, much);
    size_t before = buf_len(&n->got);
    while (before < much.len) {
        rig_turn(&b->rig);
        assert_true(buf_len(&n->got) - before <= LOOP_BYTES_PER_TURN);
        before = buf_len(&n->got);
    }
    assert_span(buf_span(&n->got), much);
    free((void *)(uintptr_t)much.ptr);
}

static void fill(struct node *n)
{
    static const char bytes[5000];
    ssize_t r = 1;
    for (int i = 0; i < 100000 && r > 0; i++)
        r = send_span(n, span_of(bytes, sizeof(bytes)));
    assert_int_equal(r, -EAGAIN);
}

static void becomes_writable_once(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    far_tighten(&n->far, n->near_fd);
    fill(n);
    rig_idle(&b->rig);
    assert_int_equal(n->writables, 0);
    CALL(sock_want_writable(&n->sock));
    rig_idle(&b->rig);
    assert_int_equal(n->writables, 0);
    while (n->writables == 0) {
        far_drain(&n->far);
        rig_turn(&b->rig);
    }
    far_drain(&n->far);
    rig_idle(&b->rig);
    assert_int_equal(n->writables, 1);
    CALL(sock_want_writable(&n->sock)); /* there is room already */
    UNTIL(&b->rig, n->writables == 2);
}

static void pause_self(struct node *n)
{
    CALL(sock_pause(&n->sock));
}

static void pauses_and_resumes(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    struct span much = rig_pattern(300000);
    CALL(sock_pause(&n->sock));
    far_send(&n->far, SPAN(""));
    far_send(&n->far, span_of(much.ptr, 1000));
    rig_idle(&b->rig);
    assert_true(n->recvs <= 1);
    n->in_recv = pause_self;
    CALL(sock_resume(&n->sock));
    UNTIL(&b->rig, buf_len(&n->got) == 1000);
    /* Each resume brings one piece, whatever the kernel told meanwhile. */
    far_send(&n->far, span_of(much.ptr + 1000, 3000));
    rig_idle(&b->rig);
    assert_true(n->recvs <= 2);
    for (int i = 0; i < 100 && buf_len(&n->got) < 4000; i++) {
        int before = n->recvs;
        CALL(sock_resume(&n->sock));
        UNTIL(&b->rig, n->recvs > before);
        rig_idle(&b->rig);
        assert_true(n->recvs <= before + 2);
    }
    n->in_recv = NULL;
    CALL(sock_resume(&n->sock));
    far_send(&n->far, span_of(much.ptr + 4000, 296000));
    UNTIL(&b->rig, buf_len(&n->got) == 300000);
    assert_span(buf_span(&n->got), much);
    free((void *)(uintptr_t)much.ptr);
}

static void offers_again(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    CALL(sock_pause(&n->sock));
    CALL(sock_offer(&n->sock));
    rig_idle(&b->rig);
    assert_int_equal(n->recvs, 0);
    CALL(sock_resume(&n->sock));
    UNTIL(&b->rig, n->recvs == 1);
    rig_idle(&b->rig);
    assert_int_equal(n->recvs, 1);
    assert_int_equal(n->largest, 0);
}

/* However pieces of all sizes follow each other, and whichever way a loop receives them. */
static void receives_big_and_small(void **state)
{
    static const size_t sizes[] = {1,     5000, 20000, 70000, 3,    4096, 100, 90000, 1,
                                   1,     1,    1,     1,     2000, 8192, 50,  16384, 65536,
                                   65537, 7,    7,     7,     7,    7,    7,   200000};
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    struct span all = rig_pattern(800000);
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        far_send(&n->far, span_of(all.ptr + at, sizes[i]));
        at += sizes[i];
        if (i % 3 != 0) /* else the next piece comes behind it */
            UNTIL(&b->rig, buf_len(&n->got) == at);
    }
    far_half_close(&n->far);
    UNTIL(&b->rig, n->ended == 1);
    assert_span(buf_span(&n->got), span_of(all.ptr, at));
    free((void *)(uintptr_t)all.ptr);
}

enum { CROWD = 60 };

static struct node *crowd_new(struct bench *b)
{
    struct node *crowd = calloc(CROWD, sizeof(*crowd));
    assert_non_null(crowd);
    for (size_t i = 0; i < CROWD; i++)
        node_adopt(&b->rig, &crowd[i]);
    rig_idle(&b->rig);
    return crowd;
}

static void crowd_free(struct bench *b, struct node *crowd)
{
    for (size_t i = 0; i < CROWD; i++)
        node_close(&crowd[i]);
    UNTIL(&b->rig, b->rig.l->socks == 0);
    for (size_t i = 0; i < CROWD; i++) {
        far_free(&crowd[i].far);
        buf_free(&crowd[i].got);
    }
    free(crowd);
}

/* More comes at once than a loop may have room for. */
static void receives_from_a_crowd(void **state)
{
    struct bench *b = *state;
    struct node *crowd = crowd_new(b);
    struct span much = rig_pattern(100000);
    for (size_t i = 0; i < CROWD; i++)
        far_send(&crowd[i].far, much);
    for (size_t i = 0; i < CROWD; i++) {
        UNTIL(&b->rig, buf_len(&crowd[i].got) == much.len);
        assert_span(buf_span(&crowd[i].got), much);
    }
    crowd_free(b, crowd);
    free((void *)(uintptr_t)much.ptr);
}

/* Those who don't want their bytes now don't keep others from theirs, and lose none. */
static void a_paused_crowd_is_in_nobodys_way(void **state)
{
    struct bench *b = *state;
    struct node *crowd = crowd_new(b);
    struct span much = rig_pattern(30000);
    for (size_t i = 1; i < CROWD; i++) {
        CALL(sock_pause(&crowd[i].sock));
        far_send(&crowd[i].far, much);
    }
    for (int i = 1; i <= 20; i++) {
        far_send(&crowd[0].far, much);
        UNTIL(&b->rig, buf_len(&crowd[0].got) == much.len * (size_t)i);
    }
    for (size_t i = 1; i < CROWD; i++) {
        assert_true(crowd[i].recvs <= 1);
        CALL(sock_resume(&crowd[i].sock));
    }
    for (size_t i = 1; i < CROWD; i++) {
        UNTIL(&b->rig, buf_len(&crowd[i].got) == much.len);
        assert_span(buf_span(&crowd[i].got), much);
    }
    crowd_free(b, crowd);
    free((void *)(uintptr_t)much.ptr);
}

/* ---- ends ---- */

static void sees_the_end(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    far_send(&n->far, SPAN("last"));
    far_half_close(&n->far);
    UNTIL(&b->rig, n->ended == 1);
    assert_int_equal(n->end_err, 0);
    assert_span(buf_span(&n->got), SPAN("last"));
    /* The other direction still works, and its end is seen there. */
    assert_int_equal(send_span(n, SPAN("reply")), 5);
    CALL(sock_shutdown(&n->sock));
    UNTIL(&b->rig, far_ended(&n->far));
    assert_span(far_got(&n->far), SPAN("reply"));
    rig_idle(&b->rig);
    assert_int_equal(n->ended, 1);
}

static void end_waits_for_resume(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    rig_idle(&b->rig);
    CALL(sock_pause(&n->sock));
    far_send(&n->far, SPAN("last"));
    far_close(&n->far);
    rig_idle(&b->rig);
    assert_int_equal(n->ended, 0);
    CALL(sock_resume(&n->sock));
    UNTIL(&b->rig, n->ended == 1);
    assert_int_equal(n->end_err, 0);
    assert_span(buf_span(&n->got), SPAN("last"));
}

static void much_then_end(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    struct span much = rig_pattern(500000);
    far_send(&n->far, much);
    far_close(&n->far);
    UNTIL(&b->rig, n->ended == 1);
    assert_int_equal(n->end_err, 0);
    assert_span(buf_span(&n->got), much);
    free((void *)(uintptr_t)much.ptr);
}

/* A unix socket breaks when its peer closes with bytes unread. */
static void break_it(struct node *n)
{
    if (n->far.fd >= 0)
        assert_int_equal(send_span(n, SPAN("x")), 1);
    far_reset(&n->far);
}

static void sees_a_reset(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    rig_idle(&b->rig);
    break_it(n);
    UNTIL(&b->rig, n->ended == 1);
    assert_int_equal(n->end_err, -ECONNRESET);
    rig_idle(&b->rig);
    assert_int_equal(n->ended, 1);
    assert_true(send_span(n, SPAN("x")) < 0);
}

/* Bytes and, a moment later, an end or a reset, while the loop turns. */
struct quick_end {
    struct far *far;
    unsigned moment;
    bool in_order;
};

static void *end_quickly(void *arg)
{
    struct quick_end *q = arg;
    far_send(q->far, SPAN("half of a request"));
    for (atomic_uint i = 0; i < q->moment; i++)
        ;
    if (q->in_order)
        far_close(q->far);
    else
        far_reset(q->far);
    return NULL;
}

static void sees_an_end_behind_bytes(void **state)
{
    struct bench *b = *state;
    for (unsigned i = 0; i < (b->rig.sim ? 1 : 800); i++) {
        struct node *n = adopted(b, 0);
        struct quick_end q = {.far = &n->far, .moment = i / 2 * 64 % 20000, .in_order = i % 2};
        pthread_t thread;
        if (!b->rig.sim && !b->rig.v->tcp) /* it breaks when its peer closes with bytes unread */
            assert_int_equal(send_span(n, SPAN("x")), 1);
        if (b->rig.sim)
            end_quickly(&q);
        else
            assert_int_equal(pthread_create(&thread, NULL, end_quickly, &q), 0);
        UNTIL(&b->rig, n->ended == 1);
        if (!b->rig.sim)
            pthread_join(thread, NULL);
        node_close(n);
        UNTIL(&b->rig, n->closed == 1);
        buf_free(&n->got);
    }
}

static void sees_a_reset_while_paused(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    rig_idle(&b->rig);
    CALL(sock_pause(&n->sock));
    break_it(n);
    UNTIL(&b->rig, n->ended == 1);
    assert_true(n->end_err < 0);
}

/* The owner of a paused sock hears that the peer is done, once, and gets all that it said. */
static void hears_of_an_end_while_paused(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    rig_idle(&b->rig);
    CALL(sock_pause(&n->sock));
    rig_idle(&b->rig);
    far_send(&n->far, SPAN("the last words"));
    rig_idle(&b->rig);
    assert_int_equal(n->left, 0);
    far_half_close(&n->far);
    UNTIL(&b->rig, n->left == 1);
    assert_int_equal(n->ended, 0);
    CALL(sock_resume(&n->sock));
    UNTIL(&b->rig, n->ended == 1);
    assert_span(buf_span(&n->got), SPAN("the last words"));
    assert_int_equal(n->end_err, 0);
    assert_int_equal(n->left, 1);
}

/* The same when the end was there before the pause. */
static void hears_of_an_end_at_the_pause(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    n->in_recv = pause_self;
    far_send(&n->far, SPAN("the last words"));
    far_half_close(&n->far);
    UNTIL(&b->rig, n->left == 1);
    assert_int_equal(n->ended, 0);
    n->in_recv = NULL;
    CALL(sock_resume(&n->sock));
    UNTIL(&b->rig, n->ended == 1);
    assert_int_equal(n->left, 1);
}

/* ---- closing ---- */

static void closes_once(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    far_send(&n->far, SPAN("not for you"));
    node_close(n);
    assert_int_equal(n->closed, 0);
    UNTIL(&b->rig, n->closed == 1);
    rig_idle(&b->rig);
    assert_int_equal(n->closed, 1);
    assert_int_equal(n->recvs, 0);
    UNTIL(&b->rig, far_ended(&n->far));
}

static void closes_in_recv(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    n->in_recv = node_close;
    struct span much = rig_pattern(200000);
    far_send(&n->far, span_of(much.ptr, 100000));
    far_half_close(&n->far);
    UNTIL(&b->rig, n->closed == 1);
    assert_int_equal(n->recvs, 1);
    assert_int_equal(n->ended, 0);
    free((void *)(uintptr_t)much.ptr);
}

static void closes_in_ended_and_writable(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    struct node *m = adopted(b, 1);
    n->in_ended = node_close;
    m->in_writable = node_close;
    far_close(&n->far);
    CALL(sock_want_writable(&m->sock));
    UNTIL(&b->rig, n->closed == 1 && m->closed == 1);
}

/* Both have an event in the same turn, and the first closes the other. */
static void closes_the_other(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    struct node *m = adopted(b, 1);
    rig_idle(&b->rig);
    n->other = m;
    m->other = n;
    n->in_recv = node_close_other;
    m->in_recv = node_close_other;
    far_send(&n->far, SPAN("1"));
    far_send(&m->far, SPAN("2"));
    UNTIL(&b->rig, n->closed + m->closed == 1);
    rig_idle(&b->rig);
    assert_int_equal(n->recvs + m->recvs, 1);
    assert_int_equal(n->closed + m->closed, 1);
}

/* The descriptor's number is used again in the turn in which it was closed: old events are not for
 * the new one. */
static void swap(struct node *n)
{
    node_close(n->other);
    struct node *fresh = n + 2;
    *fresh = (struct node){.rig = n->rig, .sock.on = &events};
    far_pair(n->rig, &fresh->far, &fresh->near_fd);
    CALL(assert_int_equal(loop_adopt(n->rig->l, &fresh->sock, fresh->near_fd), 0));
    fresh->used = true;
    n->in_recv = NULL;
}

static void old_events_miss_the_new(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    struct node *m = adopted(b, 1);
    rig_idle(&b->rig);
    n->other = m;
    n->in_recv = swap;
    far_send(&n->far, SPAN("1"));
    far_send(&m->far, SPAN("2"));
    far_half_close(&m->far);
    UNTIL(&b->rig, m->closed == 1);
    rig_idle(&b->rig);
    assert_int_equal(b->nodes[2].recvs + b->nodes[2].ended + m->ended, 0);
    far_send(&b->nodes[2].far, SPAN("3"));
    UNTIL(&b->rig, buf_len(&b->nodes[2].got) == 1);
}

static void adopt_again(struct node *n)
{
    struct node *other = n->other;
    far_free(&n->far);
    buf_free(&n->got);
    *n = (struct node){.rig = n->rig, .sock.on = &events, .other = other};
    far_pair(n->rig, &n->far, &n->near_fd);
    CALL(assert_int_equal(loop_adopt(n->rig->l, &n->sock, n->near_fd), 0));
    n->used = true;
}

static void memory_is_free_in_closed(void **state)
{
    struct bench *b = *state;
    struct node *n = adopted(b, 0);
    n->in_closed = adopt_again;
    n->other = n + 1;
    node_close(n);
    rig_idle(&b->rig);
    assert_true(n->used);
    far_send(&n->far, SPAN("again"));
    UNTIL(&b->rig, buf_len(&n->got) == 5);
}

/* ---- connecting ---- */

struct door {
    struct acceptor acceptor;
    struct bench *bench;
    int fd;
    struct addr at;
    struct listen_path path;
    struct sim_listener *sim;
    int accepted;
    int last_fd;
    bool leave; /* stop accepting after one */
};

static void on_accepted(struct acceptor *a, int fd)
{
    struct door *d = container_of(a, struct door, acceptor);
    assert_false(inside);
    if (!d->bench->rig.sim) {
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
    d->accepted++;
    d->last_fd = fd;
    if (d->leave)
        loop_accept_stop(d->bench->rig.l, a);
}

static void door_open(struct bench *b, struct door *d)
{
    *d = (struct door){.bench = b, .fd = -1, .last_fd = -1, .acceptor.accepted = on_accepted};
    if (b->rig.sim) {
        assert_true(addr_literal(&d->at, "10.0.0.1", 6379));
        d->sim = sim_listen(b->rig.l, &d->at, NULL, NULL);
        assert_non_null(d->sim);
        return;
    }
    d->fd = rig_listen(b->rig.v->tcp, b->dir, &d->at, &d->path);
    d->acceptor.fd = d->fd;
}

static void door_close(struct door *d)
{
    if (d->fd >= 0)
        listen_close(d->fd, &d->at, &d->path);
    if (d->last_fd >= 0 && d->sim == NULL)
        close(d->last_fd);
}

static void connecting(struct bench *b, size_t i, const struct addr *to)
{
    struct node *n = &b->nodes[i];
    *n = (struct node){.rig = &b->rig, .sock.on = &events};
    int err;
    CALL(err = loop_connect(b->rig.l, &n->sock, to));
    n->used = err == 0;
    n->connect_err = err;
}

static void connects(void **state)
{
    struct bench *b = *state;
    struct door d;
    door_open(b, &d);
    struct node *n = &b->nodes[0];
    connecting(b, 0, &d.at);
    assert_true(n->used);
    assert_int_equal(n->connected, 0);
    UNTIL(&b->rig, n->connected == 1);
    assert_int_equal(n->connect_err, 0);
    if (b->rig.sim)
        n->far = (struct far){.rig = &b->rig, .fd = -1, .peer = sim_listener_peer(d.sim, 0)};
    else
        n->far = (struct far){.rig = &b->rig, .fd = accept4(d.fd, NULL, NULL, SOCK_NONBLOCK)};
    far_send(&n->far, SPAN("hello"));
    UNTIL(&b->rig, buf_len(&n->got) == 5);
    assert_int_equal(send_span(n, SPAN("you")), 3);
    UNTIL(&b->rig, far_got(&n->far).len == 3);
    rig_idle(&b->rig);
    assert_int_equal(n->connected, 1);
    door_close(&d);
}

static void is_refused(void **state)
{
    struct bench *b = *state;
    struct door d;
    door_open(b, &d);
    struct addr at = d.at;
    door_close(&d);
    if (b->rig.sim)
        sim_listener_set(d.sim, -ECONNREFUSED, 3);
    connecting(b, 0, &at);
    if (b->nodes[0].used)
        UNTIL(&b->rig, b->nodes[0].connected == 1);
    int err = b->nodes[0].connect_err;
    assert_true(err == -ECONNREFUSED || err == -ENOENT);
    rig_idle(&b->rig);
    assert_int_equal(b->nodes[0].ended + b->nodes[0].recvs + b->nodes[0].writables, 0);
}

static void closes_while_connecting(void **state)
{
    struct bench *b = *state;
    struct door d;
    door_open(b, &d);
    connecting(b, 0, &d.at);
    assert_true(b->nodes[0].used);
    node_close(&b->nodes[0]);
    UNTIL(&b->rig, b->nodes[0].closed == 1);
    rig_idle(&b->rig);
    assert_int_equal(b->nodes[0].connected, 0);
    door_close(&d);
}

/* ---- accepting ---- */

static void come_in(struct door *d, struct far *f)
{
    struct rig *r = &d->bench->rig;
    *f = (struct far){.rig = r, .fd = -1};
    if (r->sim) {
        f->peer = sim_client(r->l, &d->acceptor);
        assert_non_null(f->peer);
        return;
    }
    f->fd = socket(d->at.u.any.sa_family, SOCK_STREAM, 0);
    assert_int_equal(connect(f->fd, &d->at.u.any, d->at.len), 0);
    nonblock(f->fd);
}

static void accepts(void **state)
{
    struct bench *b = *state;
    struct door d;
    struct node *n = &b->nodes[0];
    door_open(b, &d);
    assert_int_equal(loop_accept_start(b->rig.l, &d.acceptor), 0);
    *n = (struct node){.rig = &b->rig, .sock.on = &events};
    come_in(&d, &n->far);
    UNTIL(&b->rig, d.accepted == 1);
    CALL(assert_int_equal(loop_adopt(b->rig.l, &n->sock, d.last_fd), 0));
    n->used = true;
    d.last_fd = -1;
    far_send(&n->far, SPAN("hello"));
    UNTIL(&b->rig, buf_len(&n->got) == 5);
    loop_accept_stop(b->rig.l, &d.acceptor);
    struct far late;
    come_in(&d, &late);
    rig_idle(&b->rig);
    assert_int_equal(d.accepted, 1);
    far_free(&late);
    door_close(&d);
}

static void stops_in_accepted(void **state)
{
    struct bench *b = *state;
    struct door d;
    struct far f[3];
    door_open(b, &d);
    d.leave = true;
    assert_int_equal(loop_accept_start(b->rig.l, &d.acceptor), 0);
    for (size_t i = 0; i < ARRAY_LEN(f); i++)
        come_in(&d, &f[i]);
    UNTIL(&b->rig, d.accepted == 1);
    rig_idle(&b->rig);
    assert_int_equal(d.accepted, 1);
    for (size_t i = 0; i < ARRAY_LEN(f); i++)
        far_free(&f[i]);
    door_close(&d);
}

/* Without a descriptor left, accepting pauses and the loop does not spin. */
static void waits_for_descriptors(void **state)
{
    struct bench *b = *state;
    struct rlimit old;
    struct door d;
    struct far f;
    door_open(b, &d);
    assert_int_equal(loop_accept_start(b->rig.l, &d.acceptor), 0);
    come_in(&d, &f);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    struct rlimit none = {.rlim_cur = 3, .rlim_max = old.rlim_max};
    if (b->rig.sim)
        sim_fail(b->rig.l, SIM_ACCEPT, 0, 1, -EMFILE);
    else
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    uint64_t start = loop_now(b->rig.l);
    int turns = 0;
    for (; turns < 100 && loop_now(b->rig.l) < start + 30; turns++)
        rig_turn(&b->rig);
    setrlimit(RLIMIT_NOFILE, &old);
    assert_int_equal(d.accepted, 0);
    assert_true(turns < 40);
    UNTIL(&b->rig, d.accepted == 1);
    assert_true(loop_now(b->rig.l) >= start + 100);
    loop_accept_stop(b->rig.l, &d.acceptor);
    far_free(&f);
    door_close(&d);
}

/* ---- timers, turn ends, tasks, names ---- */

struct bell {
    struct timer timer;
    struct bench *bench;
    int rung;
    int order;
    int again;
};

static int rings;

static void ring(struct timer *t)
{
    struct bell *x = container_of(t, struct bell, timer);
    assert_true(loop_now(x->bench->rig.l) >= t->due);
    assert_false(timer_running(t));
    x->rung++;
    x->order = ++rings;
    if (x->again > 0) {
        x->again--;
        timer_start(x->bench->rig.l, t, 0);
    }
}

static void timers(void **state)
{
    struct bench *b = *state;
    struct loop *l = b->rig.l;
    struct bell bells[5];
    rings = 0;
    for (size_t i = 0; i < ARRAY_LEN(bells); i++) {
        bells[i] = (struct bell){.bench = b};
        timer_init(&bells[i].timer, ring);
    }
    timer_start(l, &bells[0].timer, 30);
    timer_start(l, &bells[1].timer, 10);
    timer_start(l, &bells[2].timer, 10);
    timer_start(l, &bells[3].timer, 5);
    timer_start(l, &bells[4].timer, 1);
    timer_start(l, &bells[4].timer, 20); /* moves it */
    timer_stop(l, &bells[3].timer);
    timer_stop(l, &bells[3].timer);
    bells[0].again = 3;
    UNTIL(&b->rig, bells[0].rung == 4);
    assert_int_equal(bells[1].order, 1);
    assert_int_equal(bells[2].order, 2);
    assert_int_equal(bells[4].order, 3);
    assert_int_equal(bells[3].rung, 0);
    timer_start(l, &bells[3].timer, UINT64_MAX);
    rig_idle(&b->rig);
    assert_int_equal(bells[3].rung, 0);
    timer_stop(l, &bells[3].timer);
}

struct turned {
    struct turn_end end;
    struct loop *loop;
    struct turned *next;
    int runs;
};

static void turn_ended(struct turn_end *t)
{
    struct turned *x = container_of(t, struct turned, end);
    x->runs++;
    if (x->next != NULL)
        loop_at_turn_end(x->loop, &x->next->end);
}

static void turn_ends(void **state)
{
    struct bench *b = *state;
    struct turned second = {.loop = b->rig.l};
    struct turned first = {.loop = b->rig.l, .next = &second};
    turn_end_init(&first.end, turn_ended);
    turn_end_init(&second.end, turn_ended);
    loop_at_turn_end(b->rig.l, &first.end);
    loop_at_turn_end(b->rig.l, &first.end);
    assert_int_equal(first.runs, 0);
    loop_turn(b->rig.l, true); /* does not wait: there is work */
    assert_int_equal(first.runs, 1);
    assert_int_equal(second.runs, 1);
    rig_idle(&b->rig);
    assert_int_equal(first.runs + second.runs, 2);
}

enum { POSTERS = 3, POSTS = 2000 };

struct posted {
    struct task task;
    struct poster *by;
    int number;
};

struct poster {
    struct posted posts[POSTS];
    struct loop *loop;
    int ran;
};

static void posted_runs(struct task *t)
{
    struct posted *p = container_of(t, struct posted, task);
    assert_int_equal(p->number, p->by->ran);
    p->by->ran++;
    memset(t, 0xff, sizeof(*t)); /* the memory is the poster's again */
}

static void *post_all(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < POSTS; i++) {
        p->posts[i] = (struct posted){.task.run = posted_runs, .by = p, .number = i};
        loop_post(p->loop, &p->posts[i].task);
    }
    return NULL;
}

static void posts(void **state)
{
    struct bench *b = *state;
    struct poster *posters = calloc(POSTERS, sizeof(*posters));
    pthread_t threads[POSTERS];
    for (size_t i = 0; i < POSTERS; i++) {
        posters[i].loop = b->rig.l;
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    int ran = 0;
    for (int i = 0; i < 1000000 && ran < POSTERS * POSTS; i++) {
        rig_turn(&b->rig);
        ran = posters[0].ran + posters[1].ran + posters[2].ran;
    }
    assert_int_equal(ran, POSTERS * POSTS);
    for (size_t i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    free(posters);
}

struct stopper {
    struct task task;
    struct loop *loop;
};

static void stop_loop(struct task *t)
{
    loop_stop(container_of(t, struct stopper, task)->loop);
}

static void *stop_later(void *arg)
{
    struct stopper *s = arg;
    usleep(20000);
    loop_post(s->loop, &s->task);
    return NULL;
}

/* A post ends the wait of a loop that has nothing else to wait for. */
static void post_wakes(void **state)
{
    struct bench *b = *state;
    struct stopper s = {.task.run = stop_loop, .loop = b->rig.l};
    pthread_t thread;
    if (b->rig.sim)
        loop_post(b->rig.l, &s.task);
    else
        assert_int_equal(pthread_create(&thread, NULL, stop_later, &s), 0);
    loop_run(b->rig.l);
    if (!b->rig.sim)
        pthread_join(thread, NULL);
    rig_idle(&b->rig);
}

struct asked {
    struct lookup lookup;
    int done;
    int err;
    size_t count;
    bool loopback;
};

static void on_done(struct lookup *k, int err, const struct addr *addrs, size_t count)
{
    struct asked *a = container_of(k, struct asked, lookup);
    char text[ADDR_TEXT];
    assert_false(inside);
    a->done++;
    a->err = err;
    a->count = count;
    for (size_t i = 0; i < count; i++)
        if (strcmp(addr_text(&addrs[i], text), "127.0.0.1:6379") == 0)
            a->loopback = true;
}

static void names(void **state)
{
    struct bench *b = *state;
    struct addr home;
    assert_true(addr_literal(&home, "127.0.0.1", 1));
    if (b->rig.sim)
        assert_true(sim_name(b->rig.l, "localhost", 5, 0, &home, 1));
    struct asked known = {.lookup.done = on_done};
    struct asked unknown = {.lookup.done = on_done};
    struct asked given_up = {.lookup.done = on_done};
    loop_lookup_cancel(b->rig.l, &known.lookup); /* never began: harmless */
    CALL(assert_int_equal(loop_lookup(b->rig.l, &known.lookup, "localhost", 6379), 0));
    CALL(assert_int_equal(loop_lookup(b->rig.l, &given_up.lookup, "localhost", 6379), 0));
    CALL(assert_int_equal(loop_lookup(b->rig.l, &unknown.lookup, "no such name.invalid", 1), 0));
    loop_lookup_cancel(b->rig.l, &given_up.lookup);
    UNTIL(&b->rig, known.done == 1 && unknown.done == 1);
    assert_int_equal(known.err, 0);
    assert_true(known.loopback);
    assert_int_not_equal(unknown.err, 0);
    assert_int_equal(unknown.count, 0);
    rig_idle(&b->rig);
    assert_int_equal(given_up.done, 0);
    loop_lookup_cancel(b->rig.l, &known.lookup); /* over: harmless */
}

/* The loop may go while the thread is at work. */
static void name_given_up_at_the_end(void **state)
{
    struct bench *b = *state;
    struct asked given_up = {.lookup.done = on_done};
    assert_int_equal(loop_lookup(b->rig.l, &given_up.lookup, "localhost", 1), 0);
    loop_lookup_cancel(b->rig.l, &given_up.lookup);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(receives),
        cmocka_unit_test(receives_what_came_before),
        cmocka_unit_test(sends),
        cmocka_unit_test(receives_much),
        cmocka_unit_test(becomes_writable_once),
        cmocka_unit_test(pauses_and_resumes),
        cmocka_unit_test(offers_again),
        cmocka_unit_test(receives_big_and_small),
        cmocka_unit_test(receives_from_a_crowd),
        cmocka_unit_test(a_paused_crowd_is_in_nobodys_way),
        cmocka_unit_test(sees_the_end),
        cmocka_unit_test(end_waits_for_resume),
        cmocka_unit_test(much_then_end),
        cmocka_unit_test(sees_a_reset),
        cmocka_unit_test(sees_an_end_behind_bytes),
        cmocka_unit_test(sees_a_reset_while_paused),
        cmocka_unit_test(hears_of_an_end_while_paused),
        cmocka_unit_test(hears_of_an_end_at_the_pause),
        cmocka_unit_test(closes_once),
        cmocka_unit_test(closes_in_recv),
        cmocka_unit_test(closes_in_ended_and_writable),
        cmocka_unit_test(closes_the_other),
        cmocka_unit_test(old_events_miss_the_new),
        cmocka_unit_test(memory_is_free_in_closed),
        cmocka_unit_test(connects),
        cmocka_unit_test(is_refused),
        cmocka_unit_test(closes_while_connecting),
        cmocka_unit_test(accepts),
        cmocka_unit_test(stops_in_accepted),
        cmocka_unit_test(waits_for_descriptors),
        cmocka_unit_test(timers),
        cmocka_unit_test(turn_ends),
        cmocka_unit_test(posts),
        cmocka_unit_test(post_wakes),
        cmocka_unit_test(names),
        cmocka_unit_test(name_given_up_at_the_end),
    };
    return rig_run(tests, ARRAY_LEN(tests), setup, teardown);
}
