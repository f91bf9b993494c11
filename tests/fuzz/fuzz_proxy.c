/* SPDX-License-Identifier: BSD-3-Clause */
/* A whole proxy, its clients and its servers, driven by the input: see world.h for what must hold. The first bytes choose
 * the pool. Then either one thing after the other happens, as the input says, trouble of all kinds among them; or the
 * input is what clients send, and the same bytes are sent twice, the second time cut: every client must get the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "world.h"

enum { STRANGERS = 2, STEPS_MAX = 400 };

/* A client that sends anything. */
struct stranger {
    struct sim_peer *peer;
    struct buf got;  /* where nothing else is known, it can be compared */
    bool told_clock; /* it asked for what is never the same twice */
};

struct play {
    struct world w;
    struct stranger strangers[STRANGERS];
    struct input in;
};

static uint32_t pick(uint8_t choice, const uint32_t *from, size_t count)
{
    return from[choice % count];
}

static struct world_setup setup_of(struct input *in)
{
    static const uint32_t timeouts[] = {400, 0, 100};
    static const uint32_t in_flight[] = {65536, 1, 2, 5};
    static const uint32_t softs[] = {1048576, 64, 2000};
    static const uint32_t limits[] = {1073741824, 500, 30000};
    static const uint32_t sizes[] = {1073741823, 16000, 60};
    uint8_t a = input_byte(in);
    uint8_t b = input_byte(in);
    uint8_t c = input_byte(in);
    return (struct world_setup){
        .redis = (a & 1) != 0,
        .eject = (a & 2) != 0,
        .preconnect = (a & 4) != 0,
        .auth = (a & 8) != 0,
        .allow_flush = (a & 16) != 0,
        .db = a & 32 ? 2 : 0,
        .servers = 1 + b % 3,
        .server_connections = 1 + (b >> 2) % 3,
        .timeout = pick((uint8_t)(b >> 4), timeouts, ARRAY_LEN(timeouts)),
        .max_in_flight = pick(c & 3, in_flight, ARRAY_LEN(in_flight)),
        .output_soft = pick((c >> 2) & 3, softs, ARRAY_LEN(softs)),
        .output_limit = pick((c >> 4) & 3, limits, ARRAY_LEN(limits)),
        .max_request_size = pick(c >> 6, sizes, ARRAY_LEN(sizes)),
    };
}

/* ---- strangers ---- */

/* Whatever comes to a stranger is theirs: no key of an asker's is in it. */
static void stranger_check(struct play *p, struct stranger *s, bool keep)
{
    if (s->peer == NULL)
        return;
    struct span got = sim_peer_received(s->peer);
    must(p->w.poisoned || got.len == 0 || memchr(got.ptr, '~', got.len) == NULL);
    if (keep)
        put(&s->got, got);
    sim_peer_drop(s->peer, got.len);
}

/* Nobody but an asker may write a '~', also not by an escape. */
static void stranger_send(struct stranger *s, struct span bytes)
{
    struct buf tame = {0};
    memory_aside();
    put(&tame, bytes);
    for (size_t i = 0; i < bytes.len; i++)
        if (tame.data[i] == '~' || tame.data[i] == '\\')
            tame.data[i] = '_';
    if (s->peer != NULL)
        (void)!sim_peer_send(s->peer, buf_span(&tame));
    buf_free(&tame);
    memory_aside_end();
}

/* ---- trouble ---- */

static ptrdiff_t limit_of(uint8_t n)
{
    return n < 100 ? (ptrdiff_t)n : SIM_UNLIMITED;
}

static void trouble_peer(struct play *p, struct sim_peer *peer)
{
    uint8_t what = input_byte(&p->in);
    story("a peer's trouble: %u\n", what % 8);
    if (peer == NULL)
        return;
    switch (what % 8) {
    case 0:
        sim_peer_close(peer);
        break;
    case 1:
        sim_peer_half_close(peer);
        break;
    case 2:
        sim_peer_reset(peer, -ECONNRESET);
        break;
    case 3:
        sim_peer_cut(peer, limit_of(input_byte(&p->in)));
        break;
    case 4:
        sim_peer_limit(peer, limit_of(input_byte(&p->in)), SIM_UNLIMITED);
        break;
    case 5:
        sim_peer_limit(peer, SIM_UNLIMITED, limit_of(input_byte(&p->in)));
        break;
    default:
        sim_peer_room(peer, input_byte(&p->in) * (size_t)37);
        break;
    }
}

static void trouble_listener(struct play *p, struct far_server *s)
{
    uint8_t what = input_byte(&p->in);
    /* Where there is no timeout, what never answers is waited for for ever. */
    int err = what % 4 == 1 ? -ECONNREFUSED : 0;
    if (what % 4 == 2 && p->w.setup.timeout > 0)
        err = 1;
    sim_listener_set(s->listener, err, what / 4);
}

static void trouble_server(struct play *p, struct far_server *s)
{
    struct far_conn *c = server_conn_now(s);
    uint8_t what = input_byte(&p->in) % 8;
    story("server %td's trouble: %u\n", s - p->w.servers, what);
    switch (what) {
    case 0:
        s->hold = !s->hold;
        break;
    case 1:
        server_spoil(s);
        break;
    case 2:
        s->mute += p->w.setup.timeout > 0;
        break;
    case 3:
        server_say(s, input_bytes(&p->in, input_byte(&p->in) % 64));
        break;
    case 4:
        trouble_listener(p, s);
        break;
    default:
        trouble_peer(p, c == NULL ? NULL : c->peer);
        break;
    }
}

static void trouble_memory(struct play *p)
{
    uint8_t skip = input_byte(&p->in);
    uint8_t count = input_byte(&p->in);
    memory_fail(skip % 64, count % 8 == 7 ? 1000 : 1 + count % 8);
}

static void trouble_calls(struct play *p)
{
    static const enum sim_call calls[] = {SIM_ADOPT, SIM_CONNECT, SIM_SEND};
    uint8_t what = input_byte(&p->in);
    sim_fail(p->w.loop, calls[what % 3], what / 3 % 8, 1 + what / 128, -ECONNRESET);
}

/* ---- one thing after the other ---- */

static struct asker *some_asker(struct play *p)
{
    return &p->w.askers[input_byte(&p->in) % WORLD_ASKERS];
}

static struct far_server *some_server(struct play *p)
{
    return &p->w.servers[input_byte(&p->in) % p->w.setup.servers];
}

static void step_asker(struct play *p)
{
    struct asker *k = some_asker(p);
    if (k->peer == NULL || sim_peer_gone(k->peer))
        asker_arrive(k);
    for (unsigned n = 1 + input_byte(&p->in) % 8; n > 0; n--)
        asker_ask(k, input_byte(&p->in));
    asker_send(k, SIZE_MAX);
}

static void step_part(struct play *p)
{
    struct asker *k = some_asker(p);
    if (k->peer == NULL || sim_peer_gone(k->peer))
        asker_arrive(k);
    asker_ask(k, input_byte(&p->in));
    asker_send(k, input_byte(&p->in));
}

static void step_stranger(struct play *p)
{
    struct stranger *s = &p->strangers[input_byte(&p->in) % STRANGERS];
    if (s->peer == NULL || sim_peer_gone(s->peer))
        s->peer = world_client(&p->w);
    stranger_send(s, input_bytes(&p->in, input_byte(&p->in)));
}

static void step_turns(struct play *p)
{
    for (unsigned n = input_byte(&p->in) % 8; n > 0; n--)
        loop_turn(p->w.loop, false);
}

static void step(struct play *p)
{
    uint8_t what = input_byte(&p->in) % 12;
    story("step %u\n", what);
    switch (what) {
    case 0:
    case 1:
        step_asker(p);
        break;
    case 2:
        step_part(p);
        break;
    case 3:
        step_stranger(p);
        break;
    case 4:
        step_turns(p);
        break;
    case 5:
        sim_settle(p->w.loop);
        break;
    case 6:
        sim_advance(p->w.loop, input_byte(&p->in) * (uint64_t)3);
        break;
    case 7:
        server_release(some_server(p), input_byte(&p->in));
        break;
    case 8:
        trouble_server(p, some_server(p));
        break;
    case 9:
        trouble_peer(p, some_asker(p)->peer);
        break;
    case 10:
        trouble_memory(p);
        break;
    default:
        trouble_calls(p);
        break;
    }
}

static void check_all(struct play *p, bool keep)
{
    for (unsigned i = 0; i < WORLD_ASKERS; i++)
        asker_check(&p->w.askers[i]);
    for (unsigned i = 0; i < STRANGERS; i++)
        stranger_check(p, &p->strangers[i], keep);
}

static void strangers_go(struct play *p)
{
    for (unsigned i = 0; i < STRANGERS; i++) {
        if (p->strangers[i].peer != NULL)
            sim_peer_close(p->strangers[i].peer);
        buf_free(&p->strangers[i].got);
    }
}

static void play_trouble(struct play *p)
{
    for (unsigned i = 0; i < STEPS_MAX && p->in.left > 0; i++) {
        step(p);
        memory_aside();
        check_all(p, false);
        memory_aside_end();
    }
    world_calm(&p->w);
    check_all(p, false);
    strangers_go(p);
    world_works(&p->w);
    world_close(&p->w);
}

/* ---- the same, cut ---- */

/* What these say is another each time. */
static bool asks_for_clock(struct span bytes)
{
    static const char *const words[] = {"info", "time", "client", "stats", "slowlog", "latency"};
    char text[256];
    size_t n = bytes.len < sizeof(text) - 1 ? bytes.len : sizeof(text) - 1;
    for (size_t i = 0; i < n; i++)
        text[i] = bytes.ptr[i] == '\0' ? ' ' : bytes.ptr[i];
    text[n] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcasestr(text, words[i]) != NULL)
            return true;
    return false;
}

/* The same bytes for each client as in every other run of the same input; `cut` bytes at a time. */
static void compose_one(struct play *p, const struct chance *seed, size_t cut)
{
    uint8_t what = input_byte(&p->in);
    (void)seed;
    if (what % 8 < 5) {
        struct asker *k = &p->w.askers[what / 8 % WORLD_ASKERS];
        for (unsigned n = 1 + what % 8; n > 0; n--)
            asker_ask(k, input_byte(&p->in));
        asker_send(k, cut);
    } else {
        struct stranger *s = &p->strangers[what / 8 % STRANGERS];
        struct span bytes = input_bytes(&p->in, input_byte(&p->in));
        s->told_clock = s->told_clock || asks_for_clock(bytes);
        for (size_t at = 0; at < bytes.len; at += cut) {
            struct span rest = span_from(bytes, at);
            stranger_send(s, span_of(rest.ptr, rest.len < cut ? rest.len : cut));
            if (cut < bytes.len)
                loop_turn(p->w.loop, false);
        }
    }
}

/* Cuts of all kinds, as a seed decides. */
static size_t cut_network(struct play *p, struct chance *c)
{
    for (unsigned i = 0; i < p->w.setup.servers; i++)
        p->w.servers[i].hold = chance_under(c, 2) == 0;
    sim_defaults(p->w.loop, (ptrdiff_t)chance_under(c, 40) + 1, (ptrdiff_t)chance_under(c, 40) + 1,
                 SIM_UNLIMITED);
    return 1 + chance_under(c, 30);
}

static void run_same(struct play *p, struct input in, uint8_t seed, bool cut)
{
    struct chance c = chance_of(seed);
    size_t each = cut ? cut_network(p, &c) : SIZE_MAX;
    p->in = in;
    for (unsigned i = 0; i < WORLD_ASKERS; i++)
        asker_arrive(&p->w.askers[i]);
    for (unsigned i = 0; i < STRANGERS; i++)
        p->strangers[i].peer = world_client(&p->w);
    for (unsigned i = 0; i < STEPS_MAX && p->in.left > 0; i++) {
        compose_one(p, &c, each);
        for (size_t n = chance_under(&c, 6); n > 0; n--)
            loop_turn(p->w.loop, false);
        if (cut)
            server_release(&p->w.servers[chance_under(&c, p->w.setup.servers)],
                           1 + chance_under(&c, 60));
        check_all(p, true);
    }
    world_calm(&p->w);
    check_all(p, true);
}

static void play_same(struct world_setup *setup, struct input in)
{
    static struct play whole;
    static struct play cut;
    uint8_t seed = input_byte(&in);
    /* Whether a client is closed for its backlog, or for a request that is too large, depends on the cuts. */
    setup->output_limit = 1073741824;
    setup->max_request_size = 1073741823;
    memset(&whole, 0, sizeof(whole));
    memset(&cut, 0, sizeof(cut));
    must(world_open(&whole.w, setup));
    run_same(&whole, in, seed, false);
    must(world_open(&cut.w, setup));
    run_same(&cut, in, seed, true);
    for (unsigned i = 0; i < STRANGERS; i++)
        must(whole.strangers[i].told_clock ||
             span_eq(buf_span(&whole.strangers[i].got), buf_span(&cut.strangers[i].got)));
    for (unsigned i = 0; i < WORLD_ASKERS; i++)
        must(whole.w.askers[i].answered == cut.w.askers[i].answered &&
             whole.w.askers[i].errors == cut.w.askers[i].errors);
    strangers_go(&cut);
    world_close(&cut.w);
    strangers_go(&whole);
    world_close(&whole.w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play p;
    struct input in = {data, size};
    bool same = (input_byte(&in) & 1) != 0;
    struct world_setup setup = setup_of(&in);
    if (same) {
        play_same(&setup, in);
        return 0;
    }
    memset(&p, 0, sizeof(p));
    p.in = in;
    must(world_open(&p.w, &setup));
    play_trouble(&p);
    return 0;
}
