/* SPDX-License-Identifier: BSD-3-Clause */
/* What the simulation adds to a loop: limits, failures, a clock of its own, and that a run can be
 * repeated exactly. */
#include "rig.h"

#include <netdb.h>
#include <signal.h>
#include <sys/wait.h>

#include "io/stream.h"

/* A front that passes all it gets to a server and back, and writes down what happens. */
struct pair {
    struct stream client;
    struct stream server;
    struct acceptor acceptor;
    struct loop *loop;
    struct buf *diary;
    bool client_open;
    bool server_open;
};

static void note(struct pair *p, const char *what, long number)
{
    char line[80];
    snprintf(line, sizeof(line), "%llu %s %ld\n", (unsigned long long)loop_now(p->loop), what,
             number);
    assert_true(buf_append(p->diary, span_str(line)));
}

static void client_connected(struct stream *s, int err)
{
    (void)s;
    (void)err;
    never("it came by itself");
}

static size_t client_data(struct stream *s, struct span in)
{
    struct pair *p = container_of(s, struct pair, client);
    note(p, "client data", (long)in.len);
    if (p->server_open)
        assert_true(stream_write(&p->server, in));
    return in.len;
}

static void client_ended(struct stream *s, int err)
{
    struct pair *p = container_of(s, struct pair, client);
    note(p, "client ended", err);
    if (p->server_open)
        stream_finish(&p->server);
}

static void client_broken(struct stream *s, int err)
{
    note(container_of(s, struct pair, client), "client broken", err);
}

static void client_closed(struct stream *s)
{
    struct pair *p = container_of(s, struct pair, client);
    note(p, "client closed", 0);
    p->client_open = false;
}

static void server_connected(struct stream *s, int err)
{
    struct pair *p = container_of(s, struct pair, server);
    note(p, "server connected", err);
    if (err != 0)
        stream_close(s);
}

static size_t server_data(struct stream *s, struct span in)
{
    struct pair *p = container_of(s, struct pair, server);
    note(p, "server data", (long)in.len);
    assert_true(stream_write(&p->client, in));
    return in.len;
}

static void server_ended(struct stream *s, int err)
{
    note(container_of(s, struct pair, server), "server ended", err);
    stream_close(s);
}

static void server_drained(struct stream *s)
{
    note(container_of(s, struct pair, server), "server drained", 0);
}

static void server_broken(struct stream *s, int err)
{
    note(container_of(s, struct pair, server), "server broken", err);
    stream_close(s);
}

static void server_closed(struct stream *s)
{
    struct pair *p = container_of(s, struct pair, server);
    note(p, "server closed", 0);
    p->server_open = false;
    if (p->client_open)
        stream_finish(&p->client);
}

static const struct stream_events client_events = {
    client_connected, client_data, client_ended, NULL, client_broken, client_closed};
static const struct stream_events server_events = {server_connected, server_data,   server_ended,
                                                   server_drained,   server_broken, server_closed};

static void on_accepted(struct acceptor *a, int fd)
{
    struct pair *p = container_of(a, struct pair, acceptor);
    struct addr at;
    assert_true(addr_literal(&at, "10.0.0.1", 6379));
    note(p, "accepted", 0);
    assert_int_equal(stream_adopt(&p->client, p->loop, fd, &client_events), 0);
    p->client_open = true;
    p->server_open = stream_connect(&p->server, p->loop, &at, &server_events) == 0;
    note(p, "connecting", p->server_open);
    if (!p->server_open)
        stream_close(&p->client);
}

/* A server that answers each byte with two. */
static void answer(struct sim_peer *peer, void *context)
{
    struct span in = sim_peer_received(peer);
    (void)context;
    for (size_t i = 0; i < in.len; i++) {
        assert_true(sim_peer_send(peer, span_of(in.ptr + i, 1)));
        assert_true(sim_peer_send(peer, span_of(in.ptr + i, 1)));
    }
    sim_peer_drop(peer, in.len);
    sim_peer_room(peer, in.len);
    if (sim_peer_ended(peer))
        sim_peer_close(peer);
}

static void server_stands(struct sim_peer *peer, void *context)
{
    sim_peer_on(peer, answer, context);
}

/* One whole run; what happened is in `diary` and what the client got in `got`. */
static void whole_run(struct buf *diary, struct buf *got)
{
    struct loop *l = loop_open(&sim_ops);
    struct pair p = {.loop = l, .diary = diary, .acceptor.accepted = on_accepted};
    struct addr at;
    assert_true(addr_literal(&at, "10.0.0.1", 6379));
    struct sim_listener *server = sim_listen(l, &at, server_stands, NULL);
    assert_non_null(server);
    sim_listener_set(server, 0, 25);
    assert_int_equal(loop_accept_start(l, &p.acceptor), 0);
    sim_defaults(l, 7, 3, 10);
    struct sim_peer *client = sim_client(l, &p.acceptor);
    assert_non_null(client);
    assert_true(sim_peer_send(client, SPAN("the quick brown fox jumps over the lazy dog")));
    sim_peer_limit(client, 5, SIM_UNLIMITED);
    sim_advance(l, 20);
    assert_int_equal(sim_listener_count(server), 1);
    sim_peer_half_close(client);
    loop_run(l); /* until nothing can happen any more */
    assert_true(sim_peer_ended(client));
    sim_peer_close(client);
    loop_run(l);
    assert_true(buf_append(got, sim_peer_received(client)));
    assert_true(sim_peer_gone(client));
    loop_accept_stop(l, &p.acceptor);
    loop_free(l);
}

static void runs_the_same(void **state)
{
    (void)state;
    struct buf diary[2] = {{0}, {0}};
    struct buf got[2] = {{0}, {0}};
    for (size_t i = 0; i < 2; i++)
        whole_run(&diary[i], &got[i]);
    assert_true(buf_len(&diary[0]) > 100);
    assert_true(span_eq(buf_span(&diary[0]), buf_span(&diary[1])));
    assert_true(span_eq(buf_span(&got[0]), buf_span(&got[1])));
    for (size_t i = 0; i < 2; i++) {
        buf_free(&diary[i]);
        buf_free(&got[i]);
    }
}

static size_t pass_line(struct stream *s, struct span in)
{
    (void)s;
    return in.len;
}

static void hear_nothing(struct stream *s, int err)
{
    (void)s;
    (void)err;
}

static void hear_closed(struct stream *s)
{
    (void)s;
}

static const struct stream_events deaf = {.connected = hear_nothing,
                                          .data = pass_line,
                                          .ended = hear_nothing,
                                          .broken = hear_nothing,
                                          .closed = hear_closed};

static void close_all(struct loop *l, struct stream *s)
{
    stream_close(s);
    sim_settle(l);
    loop_free(l);
}

static void limits_sends(void **state)
{
    (void)state;
    struct loop *l = loop_open(&sim_ops);
    struct stream s;
    int fd = -1;
    struct sim_peer *peer = sim_pair(l, &fd);
    assert_non_null(peer);
    assert_int_equal(stream_adopt(&s, l, fd, &deaf), 0);
    sim_peer_limit(peer, 4, 10);
    assert_true(stream_write(&s, SPAN("0123456789abcdef")));
    loop_turn(l, false);
    assert_int_equal(sim_peer_received(peer).len, 4);
    sim_settle(l);
    assert_int_equal(sim_peer_received(peer).len, 10);
    sim_peer_room(peer, 3);
    sim_settle(l);
    assert_true(span_eq(sim_peer_received(peer), SPAN("0123456789abc")));
    close_all(l, &s);
}

static void fails_as_told(void **state)
{
    (void)state;
    struct loop *l = loop_open(&sim_ops);
    struct stream s;
    struct stream t;
    struct addr at;
    struct lookup k = {0};
    int fd = -1;
    assert_true(addr_literal(&at, "10.0.0.1", 1));
    assert_non_null(sim_pair(l, &fd));
    sim_fail(l, SIM_ADOPT, 0, 1, -ENOMEM);
    sim_fail(l, SIM_CONNECT, 1, 1, -EMFILE);
    sim_fail(l, SIM_LOOKUP, 0, 1, -EAGAIN);
    assert_int_equal(stream_adopt(&s, l, fd, &deaf), -ENOMEM);
    assert_int_equal(stream_adopt(&s, l, fd, &deaf), 0);
    assert_int_equal(stream_connect(&t, l, &at, &deaf), 0);
    stream_close(&t);
    sim_settle(l);
    assert_int_equal(stream_connect(&t, l, &at, &deaf), -EMFILE);
    assert_int_equal(loop_lookup(l, &k, "x", 1), -EAGAIN);
    close_all(l, &s);
}

/* A connection that is never answered: the loop can do nothing more, and says so by returning. */
static void no_answer(void **state)
{
    (void)state;
    struct loop *l = loop_open(&sim_ops);
    struct stream s;
    struct addr at;
    assert_true(addr_literal(&at, "10.0.0.1", 1));
    struct sim_listener *server = sim_listen(l, &at, NULL, NULL);
    assert_non_null(server);
    sim_listener_set(server, 1, 0);
    assert_int_equal(stream_connect(&s, l, &at, &deaf), 0);
    loop_run(l);
    close_all(l, &s);
}

struct clocked {
    struct timer timer;
    struct lookup lookup;
    struct loop *loop;
    uint64_t rang;
    uint64_t found;
    uint16_t port;
};

static void rang(struct timer *t)
{
    struct clocked *c = container_of(t, struct clocked, timer);
    c->rang = loop_now(c->loop);
}

static void found(struct lookup *k, int err, const struct addr *addrs, size_t count)
{
    struct clocked *c = container_of(k, struct clocked, lookup);
    struct sockaddr_in in;
    assert_int_equal(err, 0);
    assert_int_equal(count, 1);
    memcpy(&in, &addrs[0].u, sizeof(in));
    c->port = ntohs(in.sin_port);
    c->found = loop_now(c->loop);
}

static void keeps_its_own_time(void **state)
{
    (void)state;
    struct loop *l = loop_open(&sim_ops);
    struct clocked c = {.loop = l, .lookup.done = found};
    struct addr at;
    uint64_t start = loop_now(l);
    assert_true(addr_literal(&at, "10.0.0.1", 1));
    assert_true(sim_name(l, "redis", 250, 0, &at, 1));
    timer_init(&c.timer, rang);
    timer_start(l, &c.timer, 1000000);
    assert_int_equal(loop_lookup(l, &c.lookup, "redis", 6380), 0);
    sim_settle(l);
    assert_int_equal(loop_now(l), start);
    sim_advance(l, 2000000);
    assert_int_equal(loop_now(l), start + 2000000);
    assert_int_equal(c.found, start + 250);
    assert_int_equal(c.port, 6380);
    assert_int_equal(c.rang, start + 1000000);
    loop_free(l);
}

/* Freeing a loop with an open sock aborts. In a child, since it must. */
static void finds_leaks(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct loop *l = loop_open(&sim_ops);
        struct stream s;
        int fd = -1;
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL || sim_pair(l, &fd) == NULL ||
            stream_adopt(&s, l, fd, &deaf) != 0)
            _exit(1);
        loop_free(l);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_the_same),      cmocka_unit_test(limits_sends),
        cmocka_unit_test(fails_as_told),      cmocka_unit_test(no_answer),
        cmocka_unit_test(keeps_its_own_time), cmocka_unit_test(finds_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
