/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory may be refused at any time. The same session of requests of all kinds is played again and again, and each time
 * another allocation fails, or all from that one on: every client gets its own answers, or an error in place of one, or its
 * connection ends; nothing is left behind; and when there is memory again, all works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "memory.h"
#include "world.h"

enum { RUNS_MAX = 20000 };

static const struct world_setup redis = {
    .redis = true,
    .auth = true,
    .db = 2,
    .servers = 3,
    .server_connections = 2,
    .timeout = 400,
    .eject = true,
    .preconnect = true,
    .max_in_flight = 3,
    .output_soft = 2000,
    .output_limit = 1073741824,
    .max_request_size = 1073741823,
};

static const struct world_setup memcache = {
    .servers = 2,
    .server_connections = 1,
    .timeout = 400,
    .eject = true,
    .allow_flush = true,
    .max_in_flight = 65536,
    .output_soft = 1048576,
    .output_limit = 1073741824,
    .max_request_size = 1073741823,
};

static void ask(struct asker *k, unsigned kind)
{
    if (k->peer == NULL || sim_peer_gone(k->peer))
        asker_arrive(k);
    asker_ask(k, kind);
}

static void check(struct world *w)
{
    memory_aside();
    for (unsigned i = 0; i < WORLD_ASKERS; i++)
        asker_check(&w->askers[i]);
    memory_aside_end();
}

/* One request of each kind, in pieces, so that what comes in part must be kept; the answers too. */
static void one_by_one(struct world *w, struct asker *k)
{
    for (unsigned kind = 0; kind < ASK_KINDS; kind++) {
        ask(k, kind);
        asker_send(k, buf_len(&k->wire) / 2);
        sim_settle(w->loop);
        for (unsigned i = 0; i < w->setup.servers; i++)
            w->servers[i].hold = kind % 3 == 0;
        asker_send(k, SIZE_MAX);
        sim_settle(w->loop);
        for (unsigned i = 0; i < w->setup.servers; i++)
            server_release(&w->servers[i], 5);
        sim_settle(w->loop);
        check(w);
    }
}

/* Several at once, to servers that are slow: they wait in lines, are late, and move to other connections. */
static void all_at_once(struct world *w)
{
    for (unsigned i = 0; i < w->setup.servers; i++)
        w->servers[i].hold = true;
    for (unsigned i = 0; i < WORLD_ASKERS; i++) {
        for (unsigned kind = i; kind < ASK_KINDS; kind += 3)
            ask(&w->askers[i], kind);
        asker_send(&w->askers[i], SIZE_MAX);
    }
    sim_settle(w->loop);
    server_spoil(&w->servers[0]);
    sim_advance(w->loop, 500);
    check(w);
}

static void all_kinds(struct world *w)
{
    one_by_one(w, &w->askers[0]);
    all_at_once(w);
}

/* Requests that hang together, of clients of which each is gone when it has been told something it can't go on with. Half
 * of the last request comes late. */
static void hanging_together(struct world *w)
{
    static const char *const stories[] = {
        "HELLO 3 AUTH default secret SETNAME me\r\nCLIENT GETNAME\r\nSELECT 5\r\nGET "
        "k\r\nRESET\r\nPING\r\n",
        "AUTH secret\r\nAUTH user pw\r\nGET k\r\nHELLO 3\r\nMULTI\r\nRESET\r\nAUTH secret\r\n",
        "AUTH secret\r\nMULTI\r\nSET k v\r\nGET k\r\nEXEC\r\nMULTI\r\nDISCARD\r\nMULTI\r\nEXEC\r\n",
        "AUTH secret\r\nWATCH k\r\nGET k\r\nMULTI\r\nSET k v\r\nEXEC\r\nWATCH k\r\nUNWATCH\r\n",
        "AUTH secret\r\nWATCH k\r\nMULTI\r\nSET k v\r\nDISCARD\r\nWATCH k\r\nMULTI\r\nRESET\r\n",
        "AUTH secret\r\nBLPOP k 0\r\nGET k\r\nXREAD BLOCK 5 STREAMS k $\r\nWAIT 0 1\r\nBLPOP k "
        "0\r\nPING\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(stories); i++) {
        struct sim_peer *c = world_client(w);
        struct span all = span_str(stories[i]);
        bool there = c != NULL;
        for (size_t k = 0; k < w->setup.servers; k++)
            w->servers[k].hold = i % 2 == 1;
        memory_aside();
        there = there && sim_peer_send(c, span_of(all.ptr, all.len - 4));
        memory_aside_end();
        sim_settle(w->loop);
        for (size_t k = 0; k < (size_t)w->setup.servers * 8; k++) {
            server_release(&w->servers[k % w->setup.servers], SIZE_MAX);
            sim_settle(w->loop);
        }
        memory_aside();
        there = there && sim_peer_send(c, span_from(all, all.len - 4));
        memory_aside_end();
        sim_settle(w->loop);
        if (there)
            sim_peer_half_close(c);
        sim_advance(w->loop, 150);
        if (there)
            sim_peer_close(c);
    }
}

/* Returns how many allocations failed. */
static uint64_t session(const struct world_setup *setup, void (*play)(struct world *w),
                        uint64_t skip, uint64_t count)
{
    static struct world w;
    memory_fail(skip, count);
    bool open = world_open(&w, setup);
    if (open)
        play(&w);
    uint64_t failed = memory_calm();
    assert_true(open || failed > 0);
    if (!open)
        return failed;
    world_calm(&w);
    world_works(&w);
    world_close(&w);
    return failed;
}

static void every_one(const struct world_setup *setup, void (*play)(struct world *w))
{
    uint64_t runs = 0;
    while (session(setup, play, runs, 1) > 0)
        assert_true(++runs < RUNS_MAX);
    assert_true(runs > 100); /* the story was told */
    print_message("# %llu allocations\n", (unsigned long long)runs);
}

static void from_one_on(const struct world_setup *setup, void (*play)(struct world *w))
{
    for (uint64_t skip = 0; session(setup, play, skip, UINT64_MAX) > 0; skip += 7)
        ;
}

static void test_redis(void **state)
{
    (void)state;
    every_one(&redis, all_kinds);
}

static void test_sessions(void **state)
{
    (void)state;
    every_one(&redis, hanging_together);
}

static void test_memcache(void **state)
{
    (void)state;
    every_one(&memcache, all_kinds);
}

static void test_no_more_memory(void **state)
{
    (void)state;
    from_one_on(&redis, all_kinds);
    from_one_on(&memcache, all_kinds);
    from_one_on(&redis, hanging_together);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redis),
        cmocka_unit_test(test_memcache),
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_no_more_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
