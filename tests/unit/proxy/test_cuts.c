/* SPDX-License-Identifier: BSD-3-Clause */
/* However the bytes of requests and replies are cut on their way, the same bytes come out, and
 * every server reads the same requests. */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIS                                                                                      \
    "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  redis: true\n  servers:\n   - 127.0.0.1:7001:1 a\n" \
    "   - 127.0.0.1:7002:1 b\n"
#define MEMCACHE                                                                                   \
    "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  servers:\n   - 127.0.0.1:7001:1 a\n"                \
    "   - 127.0.0.1:7002:1 b\n"

/* A request, or several in a row, and what the client must get. */
struct message {
    const char *request;
    const char *reply;
};

static const struct message redis_messages[] = {
    {"PING\r\n", "+PONG\r\n"},
    {"  get   k1 \r\n", "$4\r\n<k1>\r\n"},
    {"SET k1 \"a b\\x00c\"\r\n", "+OK\r\n"},
    {"\r\n\r\nGET k1\n", "$4\r\n<k1>\r\n"},
    {"*0\r\n*1\r\n$4\r\nPING\r\n", "+PONG\r\n"},
    {"*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n", "$4\r\n<k1>\r\n"},
    {"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "$2\r\n<>\r\n"},
    {"*2\r\n$3\r\nget\r\n$4\r\nnull\r\n", "$-1\r\n"},
    {"*2\r\n$3\r\nget\r\n$5\r\nempty\r\n", "$0\r\n\r\n"},
    {"*2\r\n$3\r\nget\r\n$7\r\nnullarr\r\n", "*-1\r\n"},
    {"*2\r\n$3\r\nget\r\n$8\r\nemptyarr\r\n", "*0\r\n"},
    {"*2\r\n$3\r\nget\r\n$3\r\nint\r\n", ":-9223372036854775808\r\n"},
    {"*2\r\n$3\r\nget\r\n$6\r\nstatus\r\n", "+fine, thanks\r\n"},
    {"*2\r\n$3\r\nget\r\n$3\r\nerr\r\n", "-WRONGTYPE no such thing\r\n"},
    {"*2\r\n$3\r\nget\r\n$6\r\nnested\r\n",
     "*4\r\n*2\r\n:1\r\n*-1\r\n$3\r\na\r\n\r\n*0\r\n*1\r\n*1\r\n*1\r\n-x\r\n"},
    {"*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$5\r\n\r\n*1\r\r\n", "+OK\r\n"},
    {"*5\r\n$4\r\nMGET\r\n$2\r\nk1\r\n$4\r\nnull\r\n$2\r\nk3\r\n$2\r\nk4\r\n",
     "*4\r\n$4\r\n<k1>\r\n$-1\r\n$4\r\n<k3>\r\n$4\r\n<k4>\r\n"},
    {"*6\r\n$3\r\nDEL\r\n$2\r\nk1\r\n$2\r\nk2\r\n$2\r\nk3\r\n$2\r\nk4\r\n$2\r\nk5\r\n", ":5\r\n"},
    {"*7\r\n$4\r\nMSET\r\n$2\r\nk1\r\n$1\r\n1\r\n$2\r\nk2\r\n$1\r\n2\r\n$2\r\nk3\r\n$1\r\n3\r\n",
     "+OK\r\n"},
    {"*1\r\n$7\r\nNOTHING\r\n*1\r\n$4\r\nPING\r\n",
     "-ERR unknown command 'NOTHING', with args beginning with: \r\n+PONG\r\n"},
    {"*1\r\n$3\r\nGET\r\nGET k2\r\n",
     "-ERR wrong number of arguments for 'get' command\r\n$4\r\n<k2>\r\n"},
    {"*2\r\n$3\r\nGET\r\n$2\r\nk1\r\nPING\r\n*2\r\n$3\r\nGET\r\n$2\r\nk4\r\n*3\r\n$4\r\nMGET\r\n$"
     "2\r"
     "\nk1\r\n$2\r\nk4\r\nDEL k2\r\n*2\r\n$3\r\nGET\r\n$2\r\nk9\r\n",
     "$4\r\n<k1>\r\n+PONG\r\n$4\r\n<k4>\r\n*2\r\n$4\r\n<k1>\r\n$4\r\n<k4>\r\n:1\r\n$4\r\n<k9>\r\n"},
};

static const struct message memcache_messages[] = {
    {"get k1\r\n", "VALUE k1 0 4\r\n<k1>\r\nEND\r\n"},
    {"get miss\r\n", "END\r\n"},
    {"gets k1\r\n", "VALUE k1 0 4 77\r\n<k1>\r\nEND\r\n"},
    {"get k1 miss k3 k4\r\n",
     "VALUE k1 0 4\r\n<k1>\r\nVALUE k3 0 4\r\n<k3>\r\nVALUE k4 0 4\r\n<k4>\r\nEND\r\n"},
    {"set k1 0 0 5\r\n\r\nEND\r\n", "STORED\r\n"},
    {"set k1 0 0 0\r\n\r\nget k2\r\n", "STORED\r\nVALUE k2 0 4\r\n<k2>\r\nEND\r\n"},
    {"set k1 0 0 1 noreply\r\nx\r\ndelete k2 noreply\r\nget k1\r\n",
     "VALUE k1 0 4\r\n<k1>\r\nEND\r\n"},
    {"cas k1 1 0 2 77\r\nab\r\nincr k1 5\r\ndelete k4\r\nversion\r\n",
     "STORED\r\n1\r\nDELETED\r\nVERSION 1\r\n"},
    {"nothing at all\r\nget k3\r\n", "ERROR\r\nVALUE k3 0 4\r\n<k3>\r\nEND\r\n"},
};

struct bench {
    struct rig rig;
    struct sim_peer *client;
    struct buf seen[2]; /* what each server reads when nothing is cut */
};

static void bench_open(struct bench *b, const char *conf)
{
    rig_open(&b->rig, conf);
    b->client = rig_client(&b->rig, 0);
    memset(b->seen, 0, sizeof(b->seen));
}

static void bench_close(struct bench *b)
{
    buf_free(&b->seen[0]);
    buf_free(&b->seen[1]);
    rig_close(&b->rig);
}

/* The servers must have read what they read the first time. */
static void same_requests(struct bench *b)
{
    for (unsigned k = 0; k < 2; k++) {
        struct fake *f = &b->rig.fakes[0][k];
        assert_true(span_eq(buf_span(&f->log), buf_span(&b->seen[k])));
        buf_clear(&f->log);
    }
}

static void uncut(struct bench *b, const struct message *m)
{
    SEND(&b->rig, b->client, m->request);
    EXPECT(&b->rig, b->client, m->reply);
    for (unsigned k = 0; k < 2; k++) {
        buf_clear(&b->seen[k]);
        assert_true(buf_append(&b->seen[k], buf_span(&b->rig.fakes[0][k].log)));
        buf_clear(&b->rig.fakes[0][k].log);
    }
}

static void hold(struct bench *b, bool on)
{
    b->rig.fakes[0][0].hold = on;
    b->rig.fakes[0][1].hold = on;
}

/* The next place to cut a message of `len` bytes: every one, but in the middle of long ones. */
static size_t next_cut(size_t at, size_t len)
{
    return at < 60 || at + 60 >= len || len < 2000 ? at + 1 : at + 509;
}

static void cut_client(struct bench *b, const struct message *m)
{
    size_t len = strlen(m->request);
    for (size_t at = 1; at < len; at = next_cut(at, len)) {
        rig_send_cut(&b->rig, b->client, span_str(m->request), at);
        EXPECT(&b->rig, b->client, m->reply);
        same_requests(b);
    }
}

/* Server `k` sends its reply cut at `at`, before or after all that the other one sends. False: it
 * has no byte there. */
static bool cut_reply_at(struct bench *b, const struct message *m, unsigned k, size_t at,
                         bool first)
{
    struct fake *f = &b->rig.fakes[0][k];
    struct fake *other = &b->rig.fakes[0][1 - k];
    SEND(&b->rig, b->client, m->request);
    bool there = at < fake_pending(f);
    if (!first)
        fake_send_all(other);
    if (there)
        fake_send(f, at);
    fake_send_all(f);
    fake_send_all(other);
    EXPECT(&b->rig, b->client, m->reply);
    same_requests(b);
    return there;
}

static void cut_server(struct bench *b, const struct message *m)
{
    size_t len = strlen(m->reply);
    hold(b, true);
    for (unsigned k = 0; k < 2; k++)
        for (size_t at = 1; cut_reply_at(b, m, k, at, true); at = next_cut(at, len))
            (void)cut_reply_at(b, m, k, at, false);
    hold(b, false);
}

/* The client's bytes are cut at `at`, and whatever waits at server `k` then and at the end is cut
 * at `reply_at`. */
static void cut_both_at(struct bench *b, const struct message *m, unsigned k, size_t at,
                        size_t reply_at)
{
    struct fake *f = &b->rig.fakes[0][k];
    rig_send(&b->rig, b->client, span_of(m->request, at));
    if (reply_at <= fake_pending(f))
        fake_send(f, reply_at);
    rig_send(&b->rig, b->client, span_from(span_str(m->request), at));
    if (reply_at <= fake_pending(f))
        fake_send(f, reply_at);
    fake_send_all(&b->rig.fakes[0][1 - k]);
    fake_send_all(f);
    EXPECT(&b->rig, b->client, m->reply);
    same_requests(b);
}

static void cut_both(struct bench *b, const struct message *m)
{
    size_t len = strlen(m->request);
    size_t reply_len = strlen(m->reply);
    size_t step = len + reply_len < 400 ? 1 : 1 + (len + reply_len) / 20;
    hold(b, true);
    for (size_t at = 1; at < len; at += step)
        for (size_t reply_at = 1; reply_at < reply_len; reply_at += step)
            for (unsigned k = 0; k < 2; k++)
                cut_both_at(b, m, k, at, reply_at);
    hold(b, false);
}

static void cut_everywhere(struct bench *b, const struct message *m)
{
    uncut(b, m);
    cut_client(b, m);
    cut_server(b, m);
    cut_both(b, m);
}

/* All sockets take and give at most `n` bytes at a time. */
static void narrow(const char *conf, const struct message *m, ptrdiff_t n)
{
    struct bench b;
    bench_open(&b, conf);
    uncut(&b, m);
    sim_peer_cut(b.client, n);
    sim_peer_limit(b.client, n, SIM_UNLIMITED);
    for (unsigned k = 0; k < 2; k++) {
        struct fake_conn *c = fake_conn_now(&b.rig.fakes[0][k]);
        if (c == NULL)
            continue;
        sim_peer_cut(c->peer, n);
        sim_peer_limit(c->peer, n, SIM_UNLIMITED);
    }
    for (int i = 0; i < 2; i++) {
        SEND(&b.rig, b.client, m->request);
        EXPECT(&b.rig, b.client, m->reply);
        same_requests(&b);
    }
    bench_close(&b);
}

static void every_cut(const char *conf, const struct message *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct bench b;
        bench_open(&b, conf);
        cut_everywhere(&b, &messages[i]);
        bench_close(&b);
        for (ptrdiff_t n = 1; n < 8; n++)
            narrow(conf, &messages[i], n);
    }
}

static void test_redis(void **state)
{
    (void)state;
    every_cut(REDIS, redis_messages, ARRAY_LEN(redis_messages));
}

static void test_memcache(void **state)
{
    (void)state;
    every_cut(MEMCACHE, memcache_messages, ARRAY_LEN(memcache_messages));
}

/* A long body goes other ways than a short one: it is linked, not copied, and sent directly. */
static char *filled(const char *before, size_t n, const char *after)
{
    size_t head = strlen(before);
    char *text = malloc(head + n + strlen(after) + 1);
    assert_non_null(text);
    memcpy(text, before, head);
    for (size_t i = 0; i < n; i++)
        text[head + i] = (char)('a' + i % 26);
    strcpy(text + head + n, after);
    return text;
}

static void long_message(const char *conf, char *request, char *reply)
{
    struct bench b;
    struct message m = {request, reply};
    bench_open(&b, conf);
    cut_everywhere(&b, &m);
    bench_close(&b);
    narrow(conf, &m, 1000);
    narrow(conf, &m, 16383);
    free(request);
    free(reply);
}

static void test_redis_long(void **state)
{
    (void)state;
    for (size_t n = 16350; n < 20000; n += 3000) {
        char head[64];
        snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$%zu\r\n", n);
        long_message(REDIS, filled(head, n, "\r\n"), strdup("+OK\r\n"));
        long_message(REDIS, filled(head, n, "\r\nGET k1\r\n"), strdup("+OK\r\n$4\r\n<k1>\r\n"));
    }
    long_message(REDIS, strdup("GET big:20000\r\n"), filled("$20000\r\n", 20000, "\r\n"));
    long_message(REDIS, strdup("GET k1\r\nGET k4\r\nGET big:17000\r\nGET k3\r\n"),
                 filled("$4\r\n<k1>\r\n$4\r\n<k4>\r\n$17000\r\n", 17000, "\r\n$4\r\n<k3>\r\n"));
    long_message(
        REDIS, strdup("MGET k1 big:17000 k3 k4\r\n"),
        filled("*4\r\n$4\r\n<k1>\r\n$17000\r\n", 17000, "\r\n$4\r\n<k3>\r\n$4\r\n<k4>\r\n"));
}

static void test_redis_long_split(void **state)
{
    (void)state;
    long_message(
        REDIS,
        filled("*5\r\n$4\r\nMSET\r\n$2\r\nk1\r\n$20000\r\n", 20000, "\r\n$2\r\nk4\r\n$1\r\nx\r\n"),
        strdup("+OK\r\n"));
}

static void test_memcache_long(void **state)
{
    (void)state;
    long_message(MEMCACHE, filled("set k1 0 0 20000\r\n", 20000, "\r\nget k2\r\n"),
                 strdup("STORED\r\nVALUE k2 0 4\r\n<k2>\r\nEND\r\n"));
    long_message(MEMCACHE, strdup("get k1 big:20000 k4\r\n"),
                 filled("VALUE k1 0 4\r\n<k1>\r\nVALUE big:20000 0 20000\r\n", 20000,
                        "\r\nVALUE k4 0 4\r\n<k4>\r\nEND\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redis),         cmocka_unit_test(test_memcache),
        cmocka_unit_test(test_redis_long),    cmocka_unit_test(test_redis_long_split),
        cmocka_unit_test(test_memcache_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
