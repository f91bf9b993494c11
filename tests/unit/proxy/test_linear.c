/* SPDX-License-Identifier: BSD-3-Clause */
/* Twice the bytes are twice the work, however they are cut. Not a clock says so: the code that is
 * linked into this test counts the basic blocks that it enters, and bytes that are moved, searched
 * or set count for what they are. */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/proto.h"

/* ---- counting ---- */

static uint64_t work;

/* Called by the instrumented code at each basic block. */
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
    work++;
}

/* What a processor does at once. */
enum { WORD = 16 };

void *__real_memcpy(void *to, const void *from, size_t n);
void *__real_memmove(void *to, const void *from, size_t n);
void *__real_memset(void *to, int c, size_t n);
void *__real_memchr(const void *at, int c, size_t n);
int __real_memcmp(const void *a, const void *b, size_t n);
void *__real_realloc(void *at, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n);
void *__wrap_memmove(void *to, const void *from, size_t n);
void *__wrap_memset(void *to, int c, size_t n);
void *__wrap_memchr(const void *at, int c, size_t n);
int __wrap_memcmp(const void *a, const void *b, size_t n);
void *__wrap_realloc(void *at, size_t n);

void *__wrap_memcpy(void *to, const void *from, size_t n)
{
    work += n / WORD;
    return __real_memcpy(to, from, n);
}

void *__wrap_memmove(void *to, const void *from, size_t n)
{
    work += n / WORD;
    return __real_memmove(to, from, n);
}

void *__wrap_memset(void *to, int c, size_t n)
{
    work += n / WORD;
    return __real_memset(to, c, n);
}

void *__wrap_memchr(const void *at, int c, size_t n)
{
    const char *found = __real_memchr(at, c, n);
    work += (found == NULL ? n : (size_t)(found - (const char *)at)) / WORD;
    return (void *)(uintptr_t)found;
}

int __wrap_memcmp(const void *a, const void *b, size_t n)
{
    work += n / WORD;
    return __real_memcmp(a, b, n);
}

/* As if it always had to copy. */
void *__wrap_realloc(void *at, size_t n)
{
    work += n / WORD;
    return __real_realloc(at, n);
}

/* ---- what is played ---- */

#define POOL(redis)                                                                                \
    "p:\n  listen: 127.0.0.1:1\n  hash: md5\n  redis: " redis                                      \
    "\n  servers:\n   - 127.0.0.1:7001:1 a\n   - 127.0.0.1:7002:1 b\n"

enum { SERVERS = 2, HEAD = 32 };

/* What a server has read. */
struct heard {
    char head[HEAD]; /* its beginning */
    size_t bytes;
    size_t answer_each; /* it answers "$1\r\nv\r\n" to every so many bytes; 0: not by itself */
};

struct play {
    struct rig rig;
    struct sim_peer *client;
    struct heard heard[SERVERS];
    size_t piece; /* bytes that come at a time */
    struct buf bytes;
};

static void hear(struct sim_peer *p, void *context)
{
    struct heard *h = context;
    struct span in = sim_peer_received(p);
    for (size_t i = 0; i < in.len && h->bytes + i < HEAD - 1; i++)
        h->head[h->bytes + i] = in.ptr[i];
    size_t before = h->bytes;
    h->bytes += in.len;
    sim_peer_drop(p, in.len);
    if (h->answer_each == 0)
        return;
    for (size_t n = h->bytes / h->answer_each - before / h->answer_each; n > 0; n--)
        assert_true(sim_peer_send(p, SPAN("$1\r\nv\r\n")));
}

/* A proxy with both servers connected. */
static void play_open(struct play *p, const char *pool)
{
    *p = (struct play){.piece = 1000};
    rig_open(&p->rig, pool);
    p->client = rig_client(&p->rig, 0);
    for (uint32_t i = 0; i < SERVERS; i++) {
        char line[64];
        snprintf(line, sizeof(line), "get %s\r\n", rig_key(&p->rig, i, 0));
        SEND(&p->rig, p->client, line);
        assert_non_null(fake_conn_now(&p->rig.fakes[0][i]));
        sim_peer_on(fake_conn_now(&p->rig.fakes[0][i])->peer, hear, &p->heard[i]);
    }
    sim_peer_drop(p->client, sim_peer_received(p->client).len);
    work = 0;
}

static uint64_t play_close(struct play *p)
{
    uint64_t done = work;
    buf_free(&p->bytes);
    rig_close(&p->rig);
    return done;
}

/* Sends all of `bytes` and forgets them. */
static void send_pieces(struct play *p, struct sim_peer *from)
{
    struct span all = buf_span(&p->bytes);
    while (all.len > 0) {
        size_t n = all.len < p->piece ? all.len : p->piece;
        assert_true(sim_peer_send(from, span_of(all.ptr, n)));
        sim_settle(p->rig.loop);
        all = span_from(all, n);
    }
    buf_clear(&p->bytes);
}

static struct sim_peer *server(struct play *p, unsigned i)
{
    return fake_conn_now(&p->rig.fakes[0][i])->peer;
}

static void add(struct play *p, const char *text)
{
    assert_true(buf_append(&p->bytes, span_str(text)));
}

static void add_number(struct play *p, const char *before, size_t n, const char *behind)
{
    char text[64];
    snprintf(text, sizeof(text), "%s%zu%s", before, n, behind);
    add(p, text);
}

static void add_zeros(struct play *p, size_t n)
{
    assert_true(buf_reserve(&p->bytes, n));
    memset(p->bytes.data + p->bytes.tail, '0', n);
    p->bytes.tail += n;
}

static size_t number_in(const char *text)
{
    return strtoul(text, NULL, 10);
}

/* ---- redis ---- */

/* The servers' answers to an MGET, of as many values as they were asked for. */
static void answer_mget(struct play *p, size_t keys)
{
    size_t asked = 0;
    for (unsigned i = 0; i < SERVERS; i++) {
        size_t here = number_in(p->heard[i].head + 1) - 1;
        asked += here;
        add_number(p, "*", here, "\r\n");
        for (size_t k = 0; k < here; k++)
            add(p, "$1\r\nv\r\n");
        send_pieces(p, server(p, i));
    }
    assert_int_equal(asked, keys);
    char head[32];
    int n = snprintf(head, sizeof(head), "*%zu\r\n", keys);
    assert_int_equal(sim_peer_received(p->client).len, (size_t)n + keys * 7);
}

static uint64_t mget_in(size_t keys, size_t piece)
{
    struct play p;
    play_open(&p, POOL("true"));
    p.piece = piece;
    add_number(&p, "*", keys + 1, "\r\n$4\r\nMGET\r\n");
    for (size_t i = 0; i < keys; i++)
        add_number(&p, "$8\r\n", 10000000 + i, "\r\n");
    send_pieces(&p, p.client);
    answer_mget(&p, keys);
    return play_close(&p);
}

static uint64_t mget(size_t keys)
{
    return mget_in(keys, 1000);
}

static uint64_t mget_byte_by_byte(size_t keys)
{
    return mget_in(keys, 1);
}

static uint64_t redis_set(size_t size)
{
    struct play p;
    play_open(&p, POOL("true"));
    add_number(&p, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$", size, "\r\n");
    add_zeros(&p, size);
    add(&p, "\r\n");
    send_pieces(&p, p.client);
    assert_true(p.heard[0].bytes + p.heard[1].bytes > size);
    add(&p, "+OK\r\n");
    send_pieces(&p, server(&p, p.heard[0].bytes > 0 ? 0 : 1));
    rig_expect(&p.rig, p.client, SPAN("+OK\r\n"));
    return play_close(&p);
}

/* Asks for k; `bytes` are then the reply, which must come through unchanged in length. */
static uint64_t reply_to_get(struct play *p, const char *get)
{
    size_t len = buf_len(&p->bytes);
    assert_true(sim_peer_send(p->client, span_str(get)));
    sim_settle(p->rig.loop);
    send_pieces(p, server(p, p->heard[0].bytes > 0 ? 0 : 1));
    assert_int_equal(sim_peer_received(p->client).len, len);
    return play_close(p);
}

static uint64_t redis_value(size_t size)
{
    struct play p;
    play_open(&p, POOL("true"));
    add_number(&p, "$", size, "\r\n");
    add_zeros(&p, size);
    add(&p, "\r\n");
    return reply_to_get(&p, "get k\r\n");
}

static uint64_t redis_array(size_t elements)
{
    struct play p;
    play_open(&p, POOL("true"));
    add_number(&p, "*", elements, "\r\n");
    for (size_t i = 0; i < elements; i++)
        add_number(&p, "$8\r\n", 10000000 + i, "\r\n");
    return reply_to_get(&p, "get k\r\n");
}

/* Arrays in arrays in pieces of a byte. */
static uint64_t redis_nested(size_t elements)
{
    struct play p;
    play_open(&p, POOL("true"));
    p.piece = 1;
    add_number(&p, "*", elements, "\r\n");
    for (size_t i = 0; i < elements; i++)
        add(&p, "*2\r\n*1\r\n:1\r\n*0\r\n");
    return reply_to_get(&p, "get k\r\n");
}

/* All at once: the client may have 1,024 open, so the rest waits again and again. */
static uint64_t redis_pipeline(size_t requests)
{
    static const char get[] = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    struct play p;
    play_open(&p, POOL("true"));
    p.heard[0].answer_each = p.heard[1].answer_each = sizeof(get) - 1;
    p.piece = SIZE_MAX;
    for (size_t i = 0; i < requests; i++)
        add(&p, get);
    send_pieces(&p, p.client);
    assert_int_equal(sim_peer_received(p.client).len, requests * 7);
    return play_close(&p);
}

/* ---- memcache ---- */

static uint64_t memcache_get(size_t keys)
{
    struct play p;
    play_open(&p, POOL("false"));
    add(&p, "get");
    for (size_t i = 0; i < keys; i++)
        add_number(&p, " ", 10000000 + i, "");
    add(&p, "\r\n");
    send_pieces(&p, p.client);
    /* The servers have all keys that they were asked for. */
    size_t len = 0;
    for (unsigned i = 0; i < SERVERS; i++) {
        size_t here = (p.heard[i].bytes - strlen("get\r\n")) / 9;
        for (size_t k = 0; k < here; k++)
            add(&p, "VALUE 10000000 0 1\r\nv\r\n");
        len += buf_len(&p.bytes);
        add(&p, "END\r\n");
        send_pieces(&p, server(&p, i));
    }
    assert_int_equal(len, keys * strlen("VALUE 10000000 0 1\r\nv\r\n"));
    return play_close(&p);
}

static uint64_t memcache_set(size_t size)
{
    struct play p;
    play_open(&p, POOL("false"));
    add_number(&p, "set k 0 0 ", size, "\r\n");
    add_zeros(&p, size);
    add(&p, "\r\n");
    send_pieces(&p, p.client);
    add(&p, "STORED\r\n");
    send_pieces(&p, server(&p, p.heard[0].bytes > 0 ? 0 : 1));
    rig_expect(&p.rig, p.client, SPAN("STORED\r\n"));
    return play_close(&p);
}

static uint64_t memcache_value(size_t size)
{
    struct play p;
    play_open(&p, POOL("false"));
    add_number(&p, "VALUE k 0 ", size, "\r\n");
    add_zeros(&p, size);
    add(&p, "\r\nEND\r\n");
    return reply_to_get(&p, "get k\r\n");
}

/* ---- 512 MB ---- */

/* A message of `size` bytes of body that nobody has touched: memory is needed only for its ends. */
static char *huge(size_t size, const char *head, size_t *len)
{
    size_t begin = strlen(head);
    *len = begin + size + 2;
    char *at = mmap(NULL, *len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    assert_ptr_not_equal(at, MAP_FAILED);
    memcpy(at, head, begin);
    memcpy(at + begin + size, "\r\n", 2);
    work = 0;
    return at;
}

static uint64_t parse_huge_request(size_t size)
{
    static const struct proto_settings settings = {.db = 0};
    struct proto_session session = {.settings = &settings};
    struct args args = {0};
    struct request_parser parser = {.args = &args};
    struct request_view view;
    struct buf scratch = {0};
    char head[64];
    snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%zu\r\n", size);
    size_t len = 0;
    char *at = huge(size, head, &len);
    enum parse got = PARSE_MORE;
    for (size_t n = 1000; got == PARSE_MORE; n += 1000)
        got = proto_redis.parse_request(&parser, &session, span_of(at, n < len ? n : len), &scratch,
                                        &view);
    uint64_t done = work;
    assert_int_equal(got, PARSE_DONE);
    assert_int_equal(view.len, len);
    munmap(at, len);
    args_free(&args);
    buf_free(&scratch);
    return done;
}

static uint64_t parse_huge_reply(size_t size)
{
    struct reply_parser parser = {0};
    char head[64];
    snprintf(head, sizeof(head), "$%zu\r\n", size);
    size_t len = 0;
    char *at = huge(size, head, &len);
    enum parse got = PARSE_MORE;
    size_t from = 0;
    while (got == PARSE_MORE) {
        size_t used = 0;
        size_t n = len - from < 1000 ? len - from : 1000;
        got = proto_redis.parse_reply(&parser, 0, span_of(at + from, n), &used);
        assert_true(used == n);
        from += used;
    }
    uint64_t done = work;
    assert_int_equal(got, PARSE_DONE);
    assert_int_equal(from, len);
    munmap(at, len);
    return done;
}

/* ---- rows ---- */

struct row {
    const char *name;
    uint64_t (*play)(size_t n);
    size_t n;
};

/* Buffers that double make steps of their own. */
static void test_linear(void **state)
{
    const struct row *row = *state;
    uint64_t once = row->play(row->n / 2);
    uint64_t twice = row->play(row->n);
    double ratio = (double)twice / (double)once;
    print_message("%s of %zu: %.2f for each, ratio to half of it %.3f\n", row->name, row->n,
                  (double)twice / (double)row->n, ratio);
    assert_true(once > 100);
    assert_true(ratio > 1.6 && ratio < 2.3);
}

int main(void)
{
    static struct row rows[] = {
        {"redis MGET", mget, 100000},
        {"redis MGET, byte by byte", mget_byte_by_byte, 8000},
        {"redis SET", redis_set, 32 << 20},
        {"redis value", redis_value, 32 << 20},
        {"redis array", redis_array, 100000},
        {"redis arrays in arrays, byte by byte", redis_nested, 8000},
        {"redis pipeline", redis_pipeline, 100000},
        {"memcache get", memcache_get, 100000},
        {"memcache set", memcache_set, 32 << 20},
        {"memcache value", memcache_value, 32 << 20},
        {"parsing a redis SET", parse_huge_request, 512 << 20},
        {"parsing a redis value", parse_huge_reply, 512 << 20},
    };
    struct CMUnitTest tests[sizeof(rows) / sizeof(rows[0])];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        tests[i] = (struct CMUnitTest){
            .name = rows[i].name, .test_func = test_linear, .initial_state = &rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
