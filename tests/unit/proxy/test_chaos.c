/* SPDX-License-Identifier: BSD-3-Clause */
/* Anything may happen at any time, chosen by chance from a seed: bytes are cut, servers fall silent,
 * break, are refused and come back, clients leave. Whatever comes, each client gets an answer to
 * each of its requests, in order, and each answer is its own or an error. */
#include "rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS = 6, ASKED_MAX = 4000, STEPS = 400, SEEDS = 60, TIMEOUT = 400, LONG = 17000 };

static const char conf[] =
    "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  redis: true\n  redis_db: 2\n  timeout: 400\n"
    "  auto_eject_hosts: true\n  server_failure_limit: 3\n  server_retry_timeout: 500\n"
    "  servers:\n   - 127.0.0.1:7001:1 a\n   - 127.0.0.1:7002:1 b\n   - 127.0.0.1:7003:1 c\n";

/* A client and the tokens that it asked for, in order: by a long SET (0 keys), a GET, or an MGET. */
struct asker {
    struct sim_peer *peer;
    struct buf wire; /* composed and not yet sent */
    unsigned asked[ASKED_MAX];
    unsigned keys[ASKED_MAX];
    unsigned count;
    unsigned answered;
};

struct chaos {
    struct rig rig;
    struct asker askers[CLIENTS];
    unsigned token;
    uint64_t random;
    unsigned errors;
    unsigned values;
};

static unsigned chance(struct chaos *x, unsigned below)
{
    x->random ^= x->random >> 12;
    x->random ^= x->random << 25;
    x->random ^= x->random >> 27;
    return (unsigned)((x->random * 2685821657736338717u) >> 33) % below;
}

static void arrive(struct chaos *x, struct asker *k)
{
    buf_free(&k->wire);
    *k = (struct asker){.peer = rig_client(&x->rig, 0)};
    sim_peer_cut(k->peer, chance(x, 3) ? 7 : SIM_UNLIMITED);
    sim_peer_limit(k->peer, chance(x, 2) ? SIM_UNLIMITED : 11, SIM_UNLIMITED);
}

/* A SET that is long enough to be linked and sent directly. */
static void compose_long(struct chaos *x, struct asker *k)
{
    char head[64];
    snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$8\r\n%08u\r\n$%d\r\n", x->token, LONG);
    assert_true(buf_append(&k->wire, span_str(head)));
    assert_true(buf_reserve(&k->wire, LONG));
    memset(k->wire.data + k->wire.tail, 'x', LONG);
    k->wire.tail += LONG;
    assert_true(buf_append(&k->wire, SPAN("\r\n")));
}

static void compose(struct chaos *x, struct asker *k)
{
    char line[100];
    if (k->count == ASKED_MAX)
        return;
    unsigned keys = chance(x, 4) ? 1 : 3;
    if (chance(x, 20) == 0)
        keys = 0;
    k->asked[k->count] = x->token;
    k->keys[k->count++] = keys;
    if (keys == 0)
        compose_long(x, k);
    else if (keys == 1)
        snprintf(line, sizeof(line), "GET t%u", x->token);
    else
        snprintf(line, sizeof(line), "MGET t%u t%u t%u", x->token, x->token + 1, x->token + 2);
    x->token += 3;
    if (keys > 0)
        resp(&k->wire, line);
}

static void send_some(struct chaos *x, struct asker *k)
{
    size_t n = buf_len(&k->wire);
    if (n > 0 && chance(x, 3) == 0)
        n = 1 + chance(x, (unsigned)n);
    if (n > 0 && sim_peer_send(k->peer, span_of(buf_span(&k->wire).ptr, n)))
        buf_consume(&k->wire, n);
}

/* Does `got` begin with `want`, as far as it goes? */
static bool agrees(struct span got, struct span want)
{
    size_t n = got.len < want.len ? got.len : want.len;
    return memcmp(got.ptr, want.ptr, n) == 0;
}

/* Takes one answer from the front of `got`; false if it is not whole. A wrong one fails the test. */
static bool take_answer(struct chaos *x, struct asker *k, struct span got, size_t *used)
{
    struct buf want = {0};
    char key[24];
    assert_true(k->answered < k->count); /* else it is an answer to nothing */
    if (got.len > 0 && got.ptr[0] == '-') {
        const char *end = memchr(got.ptr, '\n', got.len);
        *used = end == NULL ? 0 : (size_t)(end - got.ptr) + 1;
        x->errors += end != NULL;
        return end != NULL;
    }
    if (k->keys[k->answered] == 0)
        assert_true(buf_append(&want, SPAN("+OK\r\n")));
    else if (k->keys[k->answered] > 1)
        assert_true(buf_append(&want, SPAN("*3\r\n")));
    for (unsigned i = 0; i < k->keys[k->answered]; i++) {
        snprintf(key, sizeof(key), "t%u", k->asked[k->answered] + i);
        put_get(&want, key);
    }
    *used = buf_len(&want);
    bool whole = got.len >= *used;
    if (!agrees(got, buf_span(&want)))
        print_message("got %.*s want %.*s\n", (int)got.len, got.ptr, (int)*used,
                      buf_span(&want).ptr);
    assert_true(agrees(got, buf_span(&want)));
    x->values += whole;
    buf_free(&want);
    return whole;
}

static void check(struct chaos *x, struct asker *k)
{
    size_t at = 0;
    size_t used = 0;
    struct span got = sim_peer_received(k->peer);
    while (at < got.len && take_answer(x, k, span_from(got, at), &used)) {
        k->answered++;
        at += used;
    }
    sim_peer_drop(k->peer, at);
}

static void trouble_client(struct chaos *x, struct asker *k)
{
    if (chance(x, 2) == 0)
        sim_peer_reset(k->peer, -ECONNRESET);
    else
        sim_peer_close(k->peer);
    arrive(x, k);
}

static void trouble_server(struct chaos *x, struct fake *f)
{
    struct fake_conn *c = fake_conn_now(f);
    unsigned what = chance(x, 8);
    if (what == 0)
        sim_listener_set(f->listener, chance(x, 3) == 0 ? -ECONNREFUSED : 0, chance(x, 30));
    else if (what == 1 && c != NULL)
        sim_peer_reset(c->peer, -ECONNRESET);
    else if (what == 2 && c != NULL)
        sim_peer_close(c->peer);
    else if (what == 3)
        f->hold = !f->hold;
    else if (what == 4 && c != NULL)
        sim_peer_cut(c->peer, chance(x, 2) ? 5 : SIM_UNLIMITED);
    else if (what == 5 && c != NULL)
        sim_peer_limit(c->peer, chance(x, 2) ? 9 : SIM_UNLIMITED,
                       chance(x, 3) ? SIM_UNLIMITED : (ptrdiff_t)chance(x, 60));
    else if (what == 6)
        sim_fail(x->rig.loop, (enum sim_call)(SIM_CONNECT + chance(x, 2)), chance(x, 9), 1,
                 -ECONNRESET);
}

static void release(struct chaos *x, struct fake *f)
{
    LIST_FOREACH (it, &f->conns) {
        struct fake_conn *c = container_of(it, struct fake_conn, link);
        size_t n = buf_len(&c->pending);
        if (n == 0 || chance(x, 3) == 0)
            continue;
        n = chance(x, 2) ? n : 1 + chance(x, (unsigned)n);
        if (sim_peer_send(c->peer, span_of(buf_span(&c->pending).ptr, n)))
            buf_consume(&c->pending, n);
    }
}

static void step(struct chaos *x)
{
    struct asker *k = &x->askers[chance(x, CLIENTS)];
    struct fake *f = &x->rig.fakes[0][chance(x, 3)];
    unsigned what = chance(x, 100);
    if (what < 45) {
        for (unsigned i = chance(x, 6); i > 0; i--)
            compose(x, k);
        send_some(x, k);
    } else if (what < 75) {
        release(x, f);
    } else if (what < 85) {
        sim_advance(x->rig.loop, chance(x, TIMEOUT / 2));
    } else if (what < 97) {
        trouble_server(x, f);
    } else {
        trouble_client(x, k);
    }
    for (unsigned i = chance(x, 4); i > 0; i--)
        loop_turn(x->rig.loop, false);
    for (unsigned i = 0; i < CLIENTS; i++) {
        check(x, &x->askers[i]);
        if (sim_peer_ended(x->askers[i].peer))
            arrive(x, &x->askers[i]);
    }
}

/* The trouble ends: every client that is still there gets its last answer. */
static void calm(struct chaos *x)
{
    sim_fail(x->rig.loop, SIM_SEND, 0, 0, 0);
    sim_fail(x->rig.loop, SIM_CONNECT, 0, 0, 0);
    for (unsigned i = 0; i < 3; i++) {
        struct fake *f = &x->rig.fakes[0][i];
        f->hold = false;
        sim_listener_set(f->listener, 0, 0);
        LIST_FOREACH (it, &f->conns) {
            struct fake_conn *c = container_of(it, struct fake_conn, link);
            sim_peer_cut(c->peer, SIM_UNLIMITED);
            sim_peer_limit(c->peer, SIM_UNLIMITED, SIM_UNLIMITED);
        }
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        while (buf_len(&x->askers[i].wire) > 0 && !sim_peer_ended(x->askers[i].peer)) {
            send_some(x, &x->askers[i]);
            sim_settle(x->rig.loop);
        }
    sim_advance(x->rig.loop, 3 * (uint64_t)TIMEOUT);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct asker *k = &x->askers[i];
        check(x, k);
        if (!sim_peer_ended(k->peer))
            assert_int_equal(k->answered, k->count);
    }
    sim_advance(x->rig.loop, 1000);
    for (unsigned i = 0; i < CLIENTS; i++) {
        arrive(x, &x->askers[i]);
        unsigned errors = x->errors;
        compose(x, &x->askers[i]);
        rig_send(&x->rig, x->askers[i].peer, buf_span(&x->askers[i].wire));
        check(x, &x->askers[i]);
        assert_int_equal(x->askers[i].answered, 1);
        assert_int_equal(x->errors, errors);
    }
}

static void test_chaos(void **state)
{
    (void)state;
    static struct chaos x;
    unsigned errors = 0;
    unsigned values = 0;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        memset(&x, 0, sizeof(x));
        x.random = seed * UINT64_C(2654435761);
        rig_open(&x.rig, conf);
        for (unsigned i = 0; i < CLIENTS; i++)
            arrive(&x, &x.askers[i]);
        for (unsigned i = 0; i < STEPS; i++)
            step(&x);
        calm(&x);
        for (unsigned i = 0; i < CLIENTS; i++)
            buf_free(&x.askers[i].wire);
        rig_close(&x.rig);
        errors += x.errors;
        values += x.values;
    }
    /* Both ends of the story must have been told. */
    assert_true(errors > 1000);
    assert_true(values > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_chaos)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
