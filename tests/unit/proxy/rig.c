/* SPDX-License-Identifier: BSD-3-Clause */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "session/session.h"

enum { WORDS_MAX = 2048, KEY_TEXT = 24, KEYS_KEPT = 64 };

/* ---- what a server says ---- */

static void put(struct buf *out, struct span s)
{
    assert_true(buf_append(out, s));
}

static void put_text(struct buf *out, const char *text)
{
    put(out, span_str(text));
}

static bool is(struct span s, const char *text)
{
    return span_ieq(s, span_str(text));
}

static bool begins(struct span s, const char *text)
{
    return s.len >= strlen(text) && memcmp(s.ptr, text, strlen(text)) == 0;
}

static size_t number(struct span s)
{
    uint64_t n = 0;
    assert_true(span_u64(s, UINT32_MAX, &n));
    return (size_t)n;
}

static void put_header(struct buf *out, char mark, size_t n)
{
    char text[32];
    snprintf(text, sizeof(text), "%c%zu\r\n", mark, n);
    put_text(out, text);
}

static void put_fill(struct buf *out, size_t n)
{
    assert_true(buf_reserve(out, n));
    for (size_t i = 0; i < n; i++)
        out->data[out->tail++] = (char)('a' + i % 26);
}

/* A value of the length that the key asks for, or "<key>". */
static void put_value(struct buf *out, struct span key)
{
    if (begins(key, "big:")) {
        put_fill(out, number(span_from(key, 4)));
        return;
    }
    put_text(out, "<");
    put(out, key);
    put_text(out, ">");
}

static size_t value_len(struct span key)
{
    return begins(key, "big:") ? number(span_from(key, 4)) : key.len + 2;
}

static void redis_value(struct buf *out, struct span key)
{
    static const struct {
        const char *key, *reply;
    } shapes[] = {
        {"null", "$-1\r\n"},
        {"nullarr", "*-1\r\n"},
        {"empty", "$0\r\n\r\n"},
        {"emptyarr", "*0\r\n"},
        {"int", ":-9223372036854775808\r\n"},
        {"status", "+fine, thanks\r\n"},
        {"err", "-WRONGTYPE no such thing\r\n"},
        {"nested", "*4\r\n*2\r\n:1\r\n*-1\r\n$3\r\na\r\n\r\n*0\r\n*1\r\n*1\r\n*1\r\n-x\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        if (is(key, shapes[i].key)) {
            put_text(out, shapes[i].reply);
            return;
        }
    }
    put_header(out, '$', value_len(key));
    put_value(out, key);
    put_text(out, "\r\n");
}

/* SUBSCRIBE, UNSUBSCRIBE and their like: what redis says of one topic. */
static bool redis_subscription(struct buf *out, const struct span *words, size_t count)
{
    static const char *const all[] = {"subscribe",   "psubscribe",   "ssubscribe",
                                      "unsubscribe", "punsubscribe", "sunsubscribe"};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (!is(words[0], all[i]))
            continue;
        assert_int_equal(count, 2);
        put_text(out, "*3\r\n");
        put_header(out, '$', strlen(all[i]));
        put_text(out, all[i]);
        put_text(out, "\r\n");
        put_header(out, '$', words[1].len);
        put(out, words[1]);
        put_text(out, "\r\n:1\r\n");
        return true;
    }
    return false;
}

static void redis_answer(struct fake *f, struct buf *out, const struct span *words, size_t count)
{
    if (is(words[0], "PING")) {
        put_text(out, f->deaf ? "" : f->ping == NULL ? "+PONG\r\n" : f->ping);
        return;
    }
    static const char *const counting[] = {"DEL", "UNLINK", "TOUCH", "EXISTS"};
    if (is(words[0], "AUTH") || is(words[0], "SELECT")) {
        const char *answer = is(words[0], "AUTH") ? f->auth : f->select;
        put_text(out, answer == NULL ? "+OK\r\n" : answer);
        return;
    }
    if (redis_subscription(out, words, count))
        return;
    if (is(words[0], "GET")) {
        redis_value(out, words[1]);
        return;
    }
    if (is(words[0], "MGET")) {
        put_header(out, '*', count - 1);
        for (size_t i = 1; i < count; i++)
            redis_value(out, words[i]);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(counting); i++) {
        if (is(words[0], counting[i])) {
            put_header(out, ':', count - 1);
            return;
        }
    }
    put_text(out, "+OK\r\n");
}

static void memcache_answer(struct buf *out, const struct span *words, size_t count)
{
    bool touches = is(words[0], "gat") || is(words[0], "gats");
    bool cas = is(words[0], "gets") || is(words[0], "gats");
    if (is(words[0], "get") || cas || touches) {
        for (size_t i = touches ? 2 : 1; i < count; i++) {
            char tail[48];
            if (is(words[i], "miss"))
                continue;
            snprintf(tail, sizeof(tail), " 0 %zu%s\r\n", value_len(words[i]), cas ? " 77" : "");
            put_text(out, "VALUE ");
            put(out, words[i]);
            put_text(out, tail);
            put_value(out, words[i]);
            put_text(out, "\r\n");
        }
        put_text(out, "END\r\n");
    } else if (is(words[0], "incr")) {
        put_text(out, "1\r\n");
    } else if (is(words[0], "delete")) {
        put_text(out, "DELETED\r\n");
    } else if (is(words[0], "version")) {
        put_text(out, "VERSION 1\r\n");
    } else if (is(words[0], "flush_all")) {
        put_text(out, "OK\r\n");
    } else {
        put_text(out, "STORED\r\n");
    }
}

/* ---- what a server reads ---- */

/* Takes a line at `*at`, without its end. False if it is not whole. */
static bool take_line(struct span in, size_t *at, struct span *line)
{
    const char *end = memchr(in.ptr + *at, '\n', in.len - *at);
    if (end == NULL)
        return false;
    *line = span_of(in.ptr + *at, (size_t)(end - in.ptr) - *at);
    assert_true(line->len > 0 && line->ptr[line->len - 1] == '\r');
    *at += line->len + 1;
    line->len--;
    return true;
}

/* Reads one request; returns its bytes, 0 if it is not whole. */
static size_t read_redis(struct span in, struct span *words, size_t *count)
{
    size_t at = 0;
    struct span line;
    if (!take_line(in, &at, &line))
        return 0;
    assert_true(begins(line, "*"));
    *count = number(span_from(line, 1));
    assert_in_range(*count, 1, WORDS_MAX);
    for (size_t i = 0; i < *count; i++) {
        if (!take_line(in, &at, &line))
            return 0;
        assert_true(begins(line, "$"));
        size_t len = number(span_from(line, 1));
        if (in.len - at < len + 2)
            return 0;
        words[i] = span_of(in.ptr + at, len);
        assert_memory_equal(in.ptr + at + len, "\r\n", 2);
        at += len + 2;
    }
    return at;
}

static size_t split_words(struct span line, struct span *words)
{
    size_t count = 0;
    size_t from = 0;
    for (size_t i = 0; i <= line.len; i++) {
        if (i < line.len && line.ptr[i] != ' ')
            continue;
        if (i > from) {
            assert_in_range(count, 0, WORDS_MAX - 1);
            words[count++] = span_of(line.ptr + from, i - from);
        }
        from = i + 1;
    }
    return count;
}

static size_t read_memcache(struct span in, struct span *words, size_t *count)
{
    static const char *const storing[] = {"set", "add", "replace", "append", "prepend", "cas"};
    size_t at = 0;
    struct span line;
    if (!take_line(in, &at, &line))
        return 0;
    *count = split_words(line, words);
    assert_in_range(*count, 1, WORDS_MAX);
    /* The server side is always loud. */
    assert_false(is(words[*count - 1], "noreply"));
    for (size_t i = 0; i < ARRAY_LEN(storing); i++) {
        if (!is(words[0], storing[i]))
            continue;
        size_t len = number(words[4]);
        if (in.len - at < len + 2)
            return 0;
        assert_memory_equal(in.ptr + at + len, "\r\n", 2);
        at += len + 2;
        *count = 5;
    }
    return at;
}

static void conn_send(struct fake_conn *c, size_t n)
{
    struct span all = buf_span(&c->pending);
    (void)!sim_peer_send(c->peer, span_of(all.ptr, n));
    buf_consume(&c->pending, n);
}

static void on_bytes(struct sim_peer *p, void *context)
{
    static struct span words[WORDS_MAX];
    struct fake_conn *c = context;
    struct fake *f = c->fake;
    for (;;) {
        struct span in = sim_peer_received(p);
        size_t count = 0;
        size_t used = in.len == 0 ? 0
                      : f->redis  ? read_redis(in, words, &count)
                                  : read_memcache(in, words, &count);
        if (used == 0)
            break;
        bool ping = f->redis && is(words[0], "PING");
        bool hand = f->redis && (is(words[0], "AUTH") || is(words[0], "SELECT") || ping);
        f->pings += ping;
        f->requests += !hand;
        put(hand ? &f->handshake : &f->log, span_of(in.ptr, used));
        if (f->redis)
            redis_answer(f, &c->pending, words, count);
        else
            memcache_answer(&c->pending, words, count);
        sim_peer_drop(p, used);
    }
    if (!f->hold)
        conn_send(c, buf_len(&c->pending));
}

static void on_peer(struct sim_peer *p, void *context)
{
    struct fake *f = context;
    struct fake_conn *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    c->fake = f;
    c->peer = p;
    list_append(&f->conns, &c->link);
    sim_peer_on(p, on_bytes, c);
}

struct fake_conn *fake_conn_now(struct fake *f)
{
    for (struct list *it = f->conns.prev; it != &f->conns; it = it->prev) {
        struct fake_conn *c = container_of(it, struct fake_conn, link);
        if (!sim_peer_gone(c->peer))
            return c;
    }
    return NULL;
}

void fake_send(struct fake *f, size_t n)
{
    struct fake_conn *c = fake_conn_now(f);
    assert_non_null(c);
    assert_in_range(n, 0, buf_len(&c->pending));
    conn_send(c, n);
    sim_settle(f->rig->loop);
}

void fake_send_all(struct fake *f)
{
    LIST_FOREACH (it, &f->conns) {
        struct fake_conn *c = container_of(it, struct fake_conn, link);
        conn_send(c, buf_len(&c->pending));
    }
    sim_settle(f->rig->loop);
}

size_t fake_pending(struct fake *f)
{
    struct fake_conn *c = fake_conn_now(f);
    return c == NULL ? 0 : buf_len(&c->pending);
}

void fake_say(struct fake *f, const char *bytes)
{
    struct fake_conn *c = fake_conn_now(f);
    assert_non_null(c);
    assert_true(sim_peer_send(c->peer, span_str(bytes)));
    sim_settle(f->rig->loop);
}

static void expect_span(struct span got, struct span want)
{
    if (!span_eq(got, want))
        print_message("got:  %.*s\nwant: %.*s\n", (int)(got.len < 2000 ? got.len : 2000), got.ptr,
                      (int)(want.len < 2000 ? want.len : 2000), want.ptr);
    assert_int_equal(got.len, want.len);
    assert_true(span_eq(got, want));
}

void fake_expect(struct fake *f, const char *want)
{
    expect_span(buf_span(&f->log), span_str(want));
    buf_clear(&f->log);
}

/* ---- the proxy ---- */

static struct stats *make_stats(const struct conf *conf)
{
    struct stats_pool_names names[RIG_POOLS] = {0};
    const char *servers[RIG_POOLS][RIG_SERVERS];
    for (uint32_t i = 0; i < conf->pool_count; i++) {
        for (uint32_t k = 0; k < conf->pools[i].server_count; k++)
            servers[i][k] = conf->pools[i].servers[k].name;
        names[i] =
            (struct stats_pool_names){conf->pools[i].name, servers[i], conf->pools[i].server_count};
    }
    return stats_new(1, names, conf->pool_count);
}

static void make_fakes(struct rig *r, uint32_t pool)
{
    assert_in_range(r->pools[pool]->server_count, 1, RIG_SERVERS);
    for (uint32_t k = 0; k < r->pools[pool]->server_count; k++) {
        struct fake *f = &r->fakes[pool][k];
        const struct server *server = &r->pools[pool]->servers[k];
        *f = (struct fake){.rig = r, .index = k, .redis = r->conf->pools[pool].redis};
        list_init(&f->conns);
        if (!server->literal)
            continue;
        f->listener = sim_listen(r->loop, &server->addr, on_peer, f);
        assert_non_null(f->listener);
    }
}

void rig_open(struct rig *r, const char *text)
{
    log_level_set(LEVEL_EMERG);
    memset(r, 0, sizeof(*r));
    r->loop = loop_open(&sim_ops);
    assert_non_null(r->loop);
    r->conf = conf_parse("rig.yml", text, strlen(text), stderr);
    assert_non_null(r->conf);
    assert_in_range(r->conf->pool_count, 1, RIG_POOLS);
    r->stats = make_stats(r->conf);
    assert_non_null(r->stats);
    for (uint32_t i = 0; i < r->conf->pool_count; i++) {
        r->pools[i] = pool_new(&r->conf->pools[i], i);
        assert_non_null(r->pools[i]);
        make_fakes(r, i);
    }
    r->proxy = proxy_new(r->loop, r->pools, r->conf->pool_count, r->stats, 0, &session_ops);
    assert_non_null(r->proxy);
}

static void on_stopped(void *arg)
{
    struct rig *r = arg;
    r->stopped = true;
}

void rig_stop(struct rig *r)
{
    r->asked_to_stop = true;
    proxy_stop(r->proxy, on_stopped, r);
    sim_settle(r->loop);
}

static void fake_free(struct fake *f)
{
    LIST_FOREACH_SAFE (it, &f->conns) {
        struct fake_conn *c = container_of(it, struct fake_conn, link);
        buf_free(&c->pending);
        free(c);
    }
    buf_free(&f->log);
    buf_free(&f->handshake);
}

static void check_gauges(struct rig *r, uint32_t pool)
{
    const struct pool_stats *all = stats_pool(r->stats, 0, pool);
    assert_int_equal(all->client_connections, 0);
    assert_int_equal(all->subscribers, 0);
    assert_int_equal(all->blocked_clients, 0);
    assert_int_equal(all->subscriptions, 0);
    assert_int_equal(all->pubsub_channels + all->pubsub_patterns + all->pubsub_shard_channels, 0);
    for (uint32_t k = 0; k < r->pools[pool]->server_count; k++) {
        struct server_stats *s = stats_server(r->stats, 0, pool, k);
        assert_int_equal(s->server_connections, 0);
        assert_int_equal(s->in_queue, 0);
        assert_int_equal(s->in_queue_bytes, 0);
        assert_int_equal(s->out_queue, 0);
        assert_int_equal(s->out_queue_bytes, 0);
    }
}

void rig_close(struct rig *r)
{
    sim_fail(r->loop, SIM_SEND, 0, 0, 0);
    LIST_FOREACH_SAFE (it, &r->proxy->clients) {
        struct client *c = container_of(it, struct client, link);
        client_fail(c, "the test is over");
    }
    if (!r->asked_to_stop)
        rig_stop(r);
    sim_advance(r->loop, STREAM_FINISH_MS + 1000);
    assert_true(r->stopped);
    assert_int_equal(stats_worker(r->stats, 0)->curr_connections, 0);
    proxy_free(r->proxy);
    for (uint32_t i = 0; i < r->conf->pool_count; i++) {
        check_gauges(r, i);
        for (uint32_t k = 0; k < r->pools[i]->server_count; k++)
            fake_free(&r->fakes[i][k]);
        pool_free(r->pools[i]);
    }
    loop_free(r->loop);
    stats_free(r->stats);
    conf_free(r->conf);
}

struct sim_peer *rig_client(struct rig *r, uint32_t pool)
{
    int fd = -1;
    struct sim_peer *p = sim_pair(r->loop, &fd);
    assert_non_null(p);
    assert_int_equal(proxy_adopt(r->proxy, pool, fd), 0);
    sim_settle(r->loop);
    return p;
}

void rig_send(struct rig *r, struct sim_peer *client, struct span bytes)
{
    assert_true(sim_peer_send(client, bytes));
    sim_settle(r->loop);
}

void rig_send_cut(struct rig *r, struct sim_peer *client, struct span bytes, size_t at)
{
    rig_send(r, client, span_of(bytes.ptr, at));
    rig_send(r, client, span_from(bytes, at));
}

void rig_expect(struct rig *r, struct sim_peer *client, struct span want)
{
    (void)r;
    struct span got = sim_peer_received(client);
    expect_span(got, want);
    sim_peer_drop(client, got.len);
}

void rig_expect_begin(struct rig *r, struct sim_peer *client, const char *want)
{
    (void)r;
    struct span got = sim_peer_received(client);
    expect_span(span_of(got.ptr, got.len < strlen(want) ? got.len : strlen(want)), span_str(want));
    sim_peer_drop(client, got.len);
}

const char *rig_key(struct rig *r, uint32_t server, unsigned n)
{
    static char keys[KEYS_KEPT][KEY_TEXT];
    static unsigned next;
    const struct pool *p = r->pools[0];
    char *key = keys[next++ % KEYS_KEPT];
    for (unsigned i = 0;; i++) {
        snprintf(key, KEY_TEXT, "k%u", i);
        uint32_t at =
            p->server_count == 1 ? 0 : ring_pick(p->ring->ring, p->hash(span_str(key)), 0);
        if (at == server && n-- == 0)
            return key;
    }
}

void resp(struct buf *out, const char *line)
{
    struct span words[64];
    size_t count = split_words(span_str(line), words);
    assert_in_range(count, 1, ARRAY_LEN(words));
    put_header(out, '*', count);
    for (size_t i = 0; i < count; i++) {
        put_header(out, '$', words[i].len);
        put(out, words[i]);
        put_text(out, "\r\n");
    }
}

void rig_ask(struct rig *r, struct sim_peer *client, const char *fmt, ...)
{
    char line[256];
    struct buf wire = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    resp(&wire, line);
    rig_send(r, client, buf_span(&wire));
    buf_free(&wire);
}

void put_get(struct buf *out, const char *key)
{
    redis_value(out, span_str(key));
}

void rig_expect_get(struct rig *r, struct sim_peer *client, const char *key)
{
    struct buf want = {0};
    put_get(&want, key);
    rig_expect(r, client, buf_span(&want));
    buf_free(&want);
}
