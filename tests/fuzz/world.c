/* SPDX-License-Identifier: BSD-3-Clause */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "conf/conf.h"
#include "io/stream.h"
#include "memory.h"
#include "proxy/client.h"
#include "session/session.h"
#include "upstream/pool.h"

void story(const char *fmt, ...)
{
    static int told = -1;
    va_list args;
    if (told < 0)
        told = getenv("FUZZ_STORY") != NULL;
    if (told == 0)
        return;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
}

enum { RETRY_MS = 300, BACKOFF_MS = 1100, CONFS_KEPT = 256 };

/* ---- the pool ---- */

static void write_conf(const struct world_setup *s, char *text, size_t size)
{
    int len = snprintf(
        text, size,
        "p: {listen: 127.0.0.1:1, hash: fnv1a_32, distribution: modula, redis: %s, timeout: %u, "
        "auto_eject_hosts: %s, server_failure_limit: 2, server_retry_timeout: %d, preconnect: %s, "
        "server_connections: %u, max_in_flight: %u, client_output_soft: %u, "
        "client_output_limit: %u, max_request_size: %u, redis_db: %u, %s%s servers: [",
        s->redis ? "true" : "false", s->timeout, s->eject ? "true" : "false", RETRY_MS,
        s->preconnect ? "true" : "false", s->server_connections, s->max_in_flight, s->output_soft,
        s->output_limit, s->max_request_size, s->redis ? s->db : 0,
        s->redis && s->auth ? "redis_auth: secret," : "",
        !s->redis && s->allow_flush ? "allow_flush: true," : "");
    for (uint32_t i = 0; i < s->servers; i++)
        len += snprintf(text + len, size - (size_t)len, "127.0.0.1:%u:1 s%u%s", 7001 + i, i,
                        i + 1 < s->servers ? ", " : "]}\n");
}

/* Most of the time of a short run would go into reading the configuration: so each is read once. */
static const struct conf *conf_of(const struct world_setup *setup)
{
    static struct {
        char *text;
        struct conf *conf;
    } kept[CONFS_KEPT];
    static size_t next;
    char text[1024];
    write_conf(setup, text, sizeof(text));
    story("%s", text);
    for (size_t i = 0; i < CONFS_KEPT && kept[i].text != NULL; i++)
        if (strcmp(kept[i].text, text) == 0)
            return kept[i].conf;
    size_t at = next++ % CONFS_KEPT;
    free(kept[at].text);
    conf_free(kept[at].conf);
    kept[at].text = strdup(text);
    kept[at].conf = conf_parse("world.yml", text, strlen(text), stderr);
    must(kept[at].text != NULL && kept[at].conf != NULL);
    return kept[at].conf;
}

static struct stats *stats_of(const struct world *w)
{
    const char *servers[WORLD_SERVERS];
    for (uint32_t i = 0; i < w->setup.servers; i++)
        servers[i] = w->conf->pools[0].servers[i].name;
    struct stats_pool_names names = {w->conf->pools[0].name, servers, w->setup.servers};
    return stats_new(1, &names, 1);
}

static void on_peer(struct sim_peer *p, void *context);

static void servers_open(struct world *w)
{
    memory_aside();
    for (uint32_t i = 0; i < w->setup.servers; i++) {
        struct far_server *s = &w->servers[i];
        *s = (struct far_server){.world = w};
        list_init(&s->conns);
        s->listener = sim_listen(w->loop, &w->pool->servers[i].addr, on_peer, s);
        must(s->listener != NULL);
    }
    memory_aside_end();
}

static void askers_init(struct world *w)
{
    for (unsigned i = 0; i < WORLD_ASKERS; i++)
        w->askers[i] = (struct asker){.world = w, .letter = (char)('A' + i)};
}

/* What was made of it is taken down again. */
static void take_down(struct world *w)
{
    if (w->proxy != NULL)
        proxy_free(w->proxy);
    if (w->pool != NULL)
        pool_free(w->pool);
    if (w->loop != NULL)
        loop_free(w->loop);
    if (w->stats != NULL)
        stats_free(w->stats);
    must(memory_live() == w->live);
}

bool world_open(struct world *w, const struct world_setup *setup)
{
    log_level_set(LEVEL_EMERG);
    memset(w, 0, sizeof(*w));
    w->setup = *setup;
    memory_aside();
    w->conf = conf_of(setup);
    memory_aside_end();
    w->live = memory_live();
    w->loop = loop_open(&sim_ops);
    w->stats = w->loop == NULL ? NULL : stats_of(w);
    w->pool = w->stats == NULL ? NULL : pool_new(&w->conf->pools[0], 0);
    w->proxy = w->pool == NULL ? NULL : proxy_new(w->loop, &w->pool, 1, w->stats, 0, &session_ops);
    if (w->proxy == NULL) {
        take_down(w);
        return false;
    }
    servers_open(w);
    askers_init(w);
    proxy_preconnect(w->proxy);
    return true;
}

/* ---- servers ---- */

struct far_conn *server_conn_now(struct far_server *s)
{
    for (struct list *it = s->conns.prev; it != &s->conns; it = it->prev) {
        struct far_conn *c = container_of(it, struct far_conn, link);
        if (!sim_peer_gone(c->peer))
            return c;
    }
    return NULL;
}

static void conn_send(struct far_conn *c, size_t n)
{
    struct span all = buf_span(&c->pending);
    size_t len = n < all.len ? n : all.len;
    memory_aside();
    if (!sim_peer_send(c->peer, span_of(all.ptr, len)))
        len = all.len; /* it is gone */
    memory_aside_end();
    buf_consume(&c->pending, len);
}

void server_release(struct far_server *s, size_t n)
{
    LIST_FOREACH (it, &s->conns) {
        conn_send(container_of(it, struct far_conn, link), n);
    }
}

void server_spoil(struct far_server *s)
{
    memory_aside();
    LIST_FOREACH (it, &s->conns) {
        struct far_conn *c = container_of(it, struct far_conn, link);
        if (buf_len(&c->pending) == 0 && !c->spoiled)
            c->spoiled = sim_peer_send(c->peer, SPAN("\x01\r\n"));
    }
    memory_aside_end();
}

void server_say(struct far_server *s, struct span bytes)
{
    struct far_conn *c = server_conn_now(s);
    if (c == NULL || bytes.len == 0)
        return;
    s->world->poisoned = true;
    memory_aside();
    (void)!sim_peer_send(c->peer, bytes);
    memory_aside_end();
}

/* Has this asker the answer to what it asked for by that key? */
static bool is_answered(struct asker *k, uint64_t token)
{
    asker_check(k);
    return k->answered == k->want_count || token < k->wants[k->answered].token;
}

/* An asker's key is <shape><letter><number>~, and the numbers rise. A server must be asked for each once, and in that
 * order; but what failed for its client, late as it was, may still come on the connection it was sent on. Nobody else can
 * write a '~'. */
static void check_key(struct far_conn *c, struct span key)
{
    struct world *w = c->server->world;
    uint64_t n = 0;
    size_t at = 0;
    if (key.len == 0 || key.ptr[key.len - 1] != '~')
        return;
    key.len--;
    while (at < key.len && (key.ptr[at] < 'A' || key.ptr[at] >= 'A' + WORLD_ASKERS))
        at++;
    must(at < key.len && span_u64(span_from(key, at + 1), WORLD_TOKENS - 1, &n));
    must((w->asked[n / 8] & (1u << (n % 8))) == 0);
    w->asked[n / 8] = (uint8_t)(w->asked[n / 8] | (1u << (n % 8)));
    unsigned who = (unsigned)(key.ptr[at] - 'A');
    must(n > c->last[who]);
    c->last[who] = n;
    must(n > c->server->last[who] || w->poisoned || is_answered(&w->askers[who], n));
    if (n > c->server->last[who])
        c->server->last[who] = n;
}

/* What a redis says: within a transaction that it takes note, and at the end all at once. */
static void answer_in_session(struct far_conn *c, const struct reading_request *r)
{
    if (span_ieq(r->words[0], SPAN("MULTI"))) {
        must(!c->multi);
        c->multi = true;
        put_text(&c->pending, "+OK\r\n");
    } else if (span_ieq(r->words[0], SPAN("EXEC"))) {
        must(c->multi);
        put_header(&c->pending, '*', c->queued_count);
        put(&c->pending, buf_span(&c->queued));
        buf_clear(&c->queued);
        c->multi = false;
        c->queued_count = 0;
    } else if (c->multi) {
        answer_redis(r, &c->queued);
        c->queued_count++;
        put_text(&c->pending, "+QUEUED\r\n");
    } else {
        answer_redis(r, &c->pending);
    }
}

static void answer(struct far_conn *c, const struct reading_request *r)
{
    struct far_server *s = c->server;
    story("  server %td gets %.*s %.*s\n", s - s->world->servers, (int)r->words[0].len,
          r->words[0].ptr, r->count > 1 && r->words[1].len < 40 ? (int)r->words[1].len : 0,
          r->words[1].ptr);
    for (size_t i = 1; i < r->count; i++)
        check_key(c, r->words[i]);
    /* A connection that does not come up is looked at by nobody before a request needs it. */
    bool hand = span_ieq(r->words[0], SPAN("AUTH")) || span_ieq(r->words[0], SPAN("SELECT")) ||
                span_ieq(r->words[0], SPAN("HELLO"));
    if (s->mute > 0 && !hand) {
        /* What is never answered holds up what comes behind it. */
        s->mute--;
        c->spoiled = true;
    }
    if (c->spoiled)
        return;
    if (s->world->setup.redis)
        answer_in_session(c, r);
    else
        answer_memcache(r, &c->pending);
}

static void on_bytes(struct sim_peer *p, void *context)
{
    static struct reading_request r;
    struct far_conn *c = context;
    memory_aside();
    for (;;) {
        struct span in = sim_peer_received(p);
        enum reading got = in.len == 0                     ? READING_PART
                           : c->server->world->setup.redis ? read_redis_request(in, &r)
                                                           : read_memcache_request(in, &r);
        must(got != READING_WRONG);
        if (got == READING_PART)
            break;
        answer(c, &r);
        sim_peer_drop(p, r.len);
    }
    if (!c->server->hold)
        conn_send(c, SIZE_MAX);
    memory_aside_end();
}

static void on_peer(struct sim_peer *p, void *context)
{
    struct far_server *s = context;
    memory_aside();
    struct far_conn *c = calloc(1, sizeof(*c));
    must(c != NULL);
    memory_aside_end();
    c->server = s;
    c->peer = p;
    list_append(&s->conns, &c->link);
    sim_peer_on(p, on_bytes, c);
}

/* ---- calm, and the end ---- */

struct sim_peer *world_client(struct world *w)
{
    int fd = -1;
    memory_aside();
    struct sim_peer *p = sim_pair(w->loop, &fd);
    memory_aside_end();
    if (p != NULL && proxy_adopt(w->proxy, 0, fd) != 0)
        return NULL;
    return p;
}

static void calm_servers(struct world *w)
{
    for (uint32_t i = 0; i < w->setup.servers; i++) {
        struct far_server *s = &w->servers[i];
        s->hold = false;
        s->mute = 0;
        sim_listener_set(s->listener, 0, 0);
        LIST_FOREACH (it, &s->conns) {
            struct far_conn *c = container_of(it, struct far_conn, link);
            sim_peer_cut(c->peer, SIM_UNLIMITED);
            sim_peer_limit(c->peer, SIM_UNLIMITED, SIM_UNLIMITED);
            /* Where there is no timeout nobody but the server can end the wait for what it won't say. */
            if (c->spoiled && w->setup.timeout == 0)
                sim_peer_close(c->peer);
        }
        server_release(s, SIZE_MAX);
    }
}

static void send_all(struct world *w)
{
    for (unsigned i = 0; i < WORLD_ASKERS; i++)
        if (w->askers[i].peer != NULL)
            asker_send(&w->askers[i], SIZE_MAX);
}

void world_calm(struct world *w)
{
    story("calm\n");
    memory_calm();
    for (int call = 0; call < SIM_CALLS; call++)
        sim_fail(w->loop, (enum sim_call)call, 0, 0, 0);
    sim_defaults(w->loop, SIM_UNLIMITED, SIM_UNLIMITED, SIM_UNLIMITED);
    for (unsigned i = 0; i < WORLD_ASKERS; i++) {
        if (w->askers[i].peer == NULL)
            continue;
        sim_peer_cut(w->askers[i].peer, SIM_UNLIMITED);
        sim_peer_limit(w->askers[i].peer, SIM_UNLIMITED, SIM_UNLIMITED);
    }
    calm_servers(w);
    send_all(w);
    sim_advance(w->loop, w->setup.timeout * UINT64_C(4) + BACKOFF_MS);
    for (unsigned i = 0; i < WORLD_ASKERS; i++) {
        struct asker *k = &w->askers[i];
        if (k->peer == NULL)
            continue;
        asker_check(k);
        story("asker %c: %zu of %zu, %llu errors%s\n", k->letter, k->answered, k->want_count,
              (unsigned long long)k->errors, sim_peer_ended(k->peer) ? ", ended" : "");
        must(sim_peer_ended(k->peer) || (k->answered == k->want_count && !k->parted));
    }
}

void world_works(struct world *w)
{
    sim_advance(w->loop, RETRY_MS + BACKOFF_MS);
    for (unsigned i = 0; i < WORLD_ASKERS; i++) {
        struct asker *k = &w->askers[i];
        asker_arrive(k);
        asker_ask(k, 0);
        asker_send(k, SIZE_MAX);
        sim_settle(w->loop);
        asker_check(k);
        must(k->answered == k->want_count && !sim_peer_ended(k->peer));
        must(k->errors == 0 || w->poisoned);
    }
}

static void on_stopped(void *arg)
{
    struct world *w = arg;
    w->stopped = true;
}

static void check_gauges(const struct world *w)
{
    must(stats_worker(w->stats, 0)->curr_connections == 0);
    must(stats_pool(w->stats, 0, 0)->client_connections == 0);
    for (uint32_t i = 0; i < w->setup.servers; i++) {
        struct server_stats *s = stats_server(w->stats, 0, 0, i);
        must(s->server_connections == 0);
        must(s->in_queue == 0 && s->in_queue_bytes == 0);
        must(s->out_queue == 0 && s->out_queue_bytes == 0);
    }
    must(w->loop->socks == 0);
    must(w->loop->pool.bytes == 0);
    must(w->proxy->client_slab.live == 0);
    must(w->proxy->request_slab.live == 0);
}

static void servers_free(struct world *w)
{
    for (uint32_t i = 0; i < w->setup.servers; i++) {
        LIST_FOREACH_SAFE (it, &w->servers[i].conns) {
            struct far_conn *c = container_of(it, struct far_conn, link);
            buf_free(&c->pending);
            buf_free(&c->queued);
            free(c);
        }
    }
}

static void askers_free(struct world *w)
{
    for (unsigned i = 0; i < WORLD_ASKERS; i++) {
        buf_free(&w->askers[i].wire);
        buf_free(&w->askers[i].answers);
        free(w->askers[i].wants);
    }
}

void world_close(struct world *w)
{
    for (unsigned i = 0; i < WORLD_ASKERS; i++)
        if (w->askers[i].peer != NULL)
            sim_peer_close(w->askers[i].peer);
    proxy_stop(w->proxy, on_stopped, w);
    sim_advance(w->loop, w->setup.timeout * UINT64_C(3) + STREAM_FINISH_MS + BACKOFF_MS);
    must(w->stopped);
    check_gauges(w);
    askers_free(w);
    servers_free(w);
    take_down(w);
}
