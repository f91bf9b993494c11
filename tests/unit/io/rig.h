/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit rig lets one test run on every backend of the loop: it plays the far end of a connection, by
 * a socket or in the simulation, and takes turns of the loop until something is true. */
#ifndef TESTS_IO_RIG_H
#define TESTS_IO_RIG_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "io/listen.h"
#include "io/loop.h"
#include "io/sim.h"

struct variant {
    const struct loop_ops *ops;
    bool tcp; /* else unix sockets; the same to sim */
    const char *name;
    const char *lacks; /* why this system can't run it; or NULL */
};

struct rig {
    const struct variant *v;
    struct loop *l;
    struct timer guard; /* so that a turn never waits for ever */
    bool sim;
};

/* The far end of a connection. */
struct far {
    struct rig *rig;
    int fd;
    struct sim_peer *peer;
    struct buf got;
    bool eof; /* or broken */
};

static inline void rig_guard(struct timer *t)
{
    (void)t;
}

static inline void rig_turn(struct rig *r)
{
    timer_start(r->l, &r->guard, 2);
    loop_turn(r->l, true);
    timer_stop(r->l, &r->guard);
}

/* Takes turns until `cond` holds, at most for some seconds. */
#define UNTIL(rig, cond)                                                                           \
    do {                                                                                           \
        for (int until_i = 0; until_i < 3000 && !(cond); until_i++)                                \
            rig_turn(rig);                                                                         \
        assert_true(cond);                                                                         \
    } while (0)

/* Enough turns for anything that wants to happen. */
static inline void rig_idle(struct rig *r)
{
    for (int i = 0; i < 15; i++)
        rig_turn(r);
}

static inline int rig_open(struct rig *r, const struct variant *v)
{
    *r = (struct rig){.v = v, .l = loop_open(v->ops), .sim = v->ops == &sim_ops};
    if (r->l == NULL)
        return -1;
    timer_init(&r->guard, rig_guard);
    return 0;
}

/* ---- sockets ---- */

static inline struct addr rig_bound(int fd)
{
    struct addr at = {.len = sizeof(at.u)};
    assert_int_equal(getsockname(fd, &at.u.any, &at.len), 0);
    return at;
}

/* A listening socket at a free place; a unix path is in `dir`. */
static inline int rig_listen(bool tcp, const char *dir, struct addr *at, struct listen_path *path)
{
    const struct listen_options opt = {.backlog = 16, .mode = -1};
    char name[100];
    if (tcp) {
        assert_true(addr_literal(at, "127.0.0.1", 0));
    } else {
        snprintf(name, sizeof(name), "%s/s", dir);
        assert_true(addr_unix(at, name));
    }
    int fd = listen_open(at, &opt, path);
    assert_true(fd >= 0);
    *at = rig_bound(fd);
    return fd;
}

static inline void rig_tcp_pair(int fds[2])
{
    struct addr at;
    int lfd = rig_listen(true, NULL, &at, NULL);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fds[0], &at.u.any, at.len), 0);
    int flags = fcntl(lfd, F_GETFL);
    assert_int_equal(fcntl(lfd, F_SETFL, flags & ~O_NONBLOCK), 0);
    fds[1] = accept(lfd, NULL, NULL);
    assert_true(fds[1] >= 0);
    close(lfd);
}

static inline void nonblock(int fd)
{
    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

/* A connection: `*near_fd` is for loop_adopt(). */
static inline void far_pair(struct rig *r, struct far *f, int *near_fd)
{
    *f = (struct far){.rig = r, .fd = -1};
    if (r->sim) {
        f->peer = sim_pair(r->l, near_fd);
        assert_non_null(f->peer);
        return;
    }
    int fds[2];
    if (r->v->tcp)
        rig_tcp_pair(fds);
    else
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    nonblock(fds[0]);
    nonblock(fds[1]);
    f->fd = fds[0];
    *near_fd = fds[1];
}

/* Sends all of it; takes turns when the connection is full. */
static inline void far_send(struct far *f, struct span s)
{
    if (f->peer != NULL) {
        assert_true(sim_peer_send(f->peer, s));
        return;
    }
    while (s.len > 0) {
        ssize_t n = send(f->fd, s.ptr, s.len, MSG_NOSIGNAL);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            rig_turn(f->rig);
            continue;
        }
        s = span_from(s, (size_t)n);
    }
}

static inline void far_receive(struct far *f)
{
    char bytes[65536];
    if (f->peer != NULL) {
        struct span s = sim_peer_received(f->peer);
        assert_true(buf_append(&f->got, s));
        sim_peer_drop(f->peer, s.len);
        f->eof = sim_peer_ended(f->peer);
        return;
    }
    while (f->fd >= 0) {
        ssize_t n = recv(f->fd, bytes, sizeof(bytes), 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            f->eof = true;
            return;
        }
        assert_true(buf_append(&f->got, span_of(bytes, (size_t)n)));
    }
}

/* All that came so far. */
static inline struct span far_got(struct far *f)
{
    far_receive(f);
    return buf_span(&f->got);
}

static inline bool far_ended(struct far *f)
{
    far_receive(f);
    return f->eof;
}

static inline void far_half_close(struct far *f)
{
    if (f->peer != NULL)
        sim_peer_half_close(f->peer);
    else
        assert_int_equal(shutdown(f->fd, SHUT_WR), 0);
}

static inline void far_close(struct far *f)
{
    if (f->peer != NULL)
        sim_peer_close(f->peer);
    else if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* Breaks the connection, as a process does that is killed with bytes unread. */
static inline void far_reset(struct far *f)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (f->peer != NULL) {
        sim_peer_reset(f->peer, -ECONNRESET);
        return;
    }
    setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(f->fd);
    f->fd = -1;
}

static inline void far_free(struct far *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    buf_free(&f->got);
}

/* Makes what the near end can send without the far end's reading small. */
static inline void far_tighten(struct far *f, int near_fd)
{
    const int small = 32768;
    if (f->peer != NULL) {
        sim_peer_limit(f->peer, 3000, 20000);
        return;
    }
    setsockopt(near_fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    setsockopt(f->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
}

/* Reads, and so makes room. */
static inline size_t far_drain(struct far *f)
{
    size_t before = buf_len(&f->got);
    far_receive(f);
    size_t n = buf_len(&f->got) - before;
    if (f->peer != NULL)
        sim_peer_room(f->peer, n);
    return buf_len(&f->got);
}

/* `n` bytes that tell where they stand. */
static inline struct span rig_pattern(size_t n)
{
    char *p = malloc(n);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + (i * 7 + i / 251) % 26);
    return span_of(p, n);
}

static const struct variant rig_variants[] = {
    {.ops = NULL, .tcp = true, .name = "tcp"},
    {.ops = NULL, .tcp = false, .name = "unix"},
};

/* Why there can be no such loop here, or NULL. Anything else that goes wrong is a failure. */
static inline const char *rig_lacks(const struct loop_ops *ops)
{
    struct loop *l = loop_open(ops);
    if (l != NULL) {
        loop_free(l);
        return NULL;
    }
    bool forbidden = errno == EPERM || errno == ENOSYS || errno == EINVAL || errno == ENOMEM;
    return ops->needs != NULL && forbidden ? strerror(errno) : NULL;
}

static inline void rig_skip(void **state)
{
    (void)state;
    skip();
}

static inline struct CMUnitTest rig_test(const struct CMUnitTest *test, struct variant *v,
                                         CMFixtureFunction setup, CMFixtureFunction teardown)
{
    char *name = malloc(200);
    assert_non_null(name);
    if (v->lacks != NULL) {
        snprintf(name, 200, "%s over %s: %s (%s)", v->ops->name, v->name, test->name, v->lacks);
        return (struct CMUnitTest){.name = name, .test_func = rig_skip};
    }
    snprintf(name, 200, "%s over %s: %s", v->ops->name, v->name, test->name);
    return (struct CMUnitTest){.name = name,
                               .test_func = test->test_func,
                               .setup_func = setup,
                               .teardown_func = teardown,
                               .initial_state = v};
}

/* Runs each of `tests` on each backend and kind of socket, and on sim, as one group. A backend that
 * the system forbids is skipped, and the name of the test says why. */
static inline int rig_run(const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup,
                          CMFixtureFunction teardown)
{
    struct CMUnitTest all[400];
    static struct variant variants[16];
    size_t v = 0;
    size_t n = 0;
    for (size_t i = 0; loop_backends[i] != NULL; i++) {
        const char *lacks = rig_lacks(loop_backends[i]);
        for (size_t k = 0; k < ARRAY_LEN(rig_variants); k++) {
            variants[v] = rig_variants[k];
            variants[v].lacks = lacks;
            variants[v++].ops = loop_backends[i];
        }
    }
    variants[v++] = (struct variant){.ops = &sim_ops, .tcp = true, .name = "memory"};
    for (size_t i = 0; i < v; i++)
        for (size_t k = 0; k < count; k++)
            all[n++] = rig_test(&tests[k], &variants[i], setup, teardown);
    int failed = _cmocka_run_group_tests("rig", all, n, NULL, NULL);
    for (size_t i = 0; i < n; i++)
        free((void *)(uintptr_t)all[i].name);
    return failed;
}

#endif
