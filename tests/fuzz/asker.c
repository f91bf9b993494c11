/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit asker is the clients of a world: see world.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "world.h"

enum { LINE = 512, LONG = 17000, WORDS = 8 };

/* ---- asking ---- */

static void want(struct asker *k, enum want_kind kind, size_t len)
{
    if (k->want_count == k->want_cap) {
        k->want_cap = k->want_cap * 2 + 16;
        struct want *more = reallocarray(k->wants, k->want_cap, sizeof(*more));
        must(more != NULL);
        k->wants = more;
    }
    k->wants[k->want_count++] = (struct want){(uint32_t)len, kind, k->world->token};
}

static void want_text(struct asker *k, const char *text)
{
    put_text(&k->answers, text);
    want(k, WANT_ANSWER, strlen(text));
}

/* What a server answers to the request at byte `from` of the wire. */
static void want_answer(struct asker *k, size_t from)
{
    static struct reading_request r;
    size_t before = buf_len(&k->answers);
    struct span wire = span_from(buf_span(&k->wire), from);
    if (k->world->setup.redis) {
        must(read_redis_request(wire, &r) == READING_WHOLE);
        answer_redis(&r, &k->answers);
    } else {
        must(read_memcache_request(wire, &r) == READING_WHOLE);
        answer_memcache(&r, &k->answers);
    }
    want(k, WANT_ANSWER, buf_len(&k->answers) - before);
}

/* A key that nobody has asked for. */
static const char *key(struct asker *k, const char *shape)
{
    static char keys[WORDS][48];
    static unsigned next;
    char *text = keys[next++ % WORDS];
    snprintf(text, sizeof(keys[0]), "%s%c%llu~", shape, k->letter,
             (unsigned long long)++k->world->token);
    return text;
}

static void resp(struct asker *k, size_t count, const char *const *words)
{
    put_header(&k->wire, '*', count);
    for (size_t i = 0; i < count; i++) {
        put_header(&k->wire, '$', strlen(words[i]));
        put_text(&k->wire, words[i]);
        put_text(&k->wire, "\r\n");
    }
}

static const char *long_value(void)
{
    static char value[LONG + 1];
    memset(value, 'x', LONG);
    return value;
}

/* A request whose words are `command` and keys of these shapes. */
static void redis_keys(struct asker *k, const char *command, const char *const *shapes, size_t n)
{
    const char *words[WORDS] = {command};
    size_t from = buf_len(&k->wire);
    for (size_t i = 0; i < n; i++)
        words[i + 1] = key(k, shapes[i]);
    resp(k, n + 1, words);
    want_answer(k, from);
}

static void redis_set(struct asker *k, const char *command, size_t pairs, const char *value)
{
    const char *words[WORDS] = {command};
    size_t from = buf_len(&k->wire);
    for (size_t i = 0; i < pairs; i++) {
        words[1 + 2 * i] = key(k, "t");
        words[2 + 2 * i] = value;
    }
    resp(k, 1 + 2 * pairs, words);
    want_answer(k, from);
}

static void redis_inline(struct asker *k)
{
    static struct reading_request r = {.count = 2};
    char line[LINE];
    const char *name = key(k, "t");
    size_t before = buf_len(&k->answers);
    snprintf(line, sizeof(line), " get \t%s\r\n", name);
    put_text(&k->wire, line);
    r.words[0] = SPAN("GET");
    r.words[1] = span_str(name);
    answer_redis(&r, &k->answers);
    want(k, WANT_ANSWER, buf_len(&k->answers) - before);
}

/* A subscription, and its end at once: nobody publishes. Others may name the same topic. */
static void redis_subscription(struct asker *k, bool pattern)
{
    static const char *const on[] = {"subscribe", "psubscribe"};
    static const char *const off[] = {"unsubscribe", "punsubscribe"};
    char topic[8];
    char line[LINE];
    snprintf(topic, sizeof(topic), "n%llu", (unsigned long long)(k->world->token % 3));
    for (int end = 0; end < 2; end++) {
        const char *words[] = {end ? off[pattern] : on[pattern], topic};
        resp(k, 2, words);
        snprintf(line, sizeof(line), "*3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n:%d\r\n", strlen(words[0]),
                 words[0], strlen(topic), topic, 1 - end);
        want_text(k, line);
    }
}

static void redis_local(struct asker *k, unsigned kind)
{
    char line[LINE];
    if (kind == 0) {
        put_text(&k->wire, "*1\r\n$4\r\nPING\r\n");
        want_text(k, "+PONG\r\n");
    } else if (kind == 1) {
        const char *words[] = {"ECHO", key(k, "t")};
        resp(k, 2, words);
        snprintf(line, sizeof(line), "$%zu\r\n%s\r\n", strlen(words[1]), words[1]);
        want_text(k, line);
    } else {
        const char *words[] = {kind == 2 ? "NOTHING" : "GET", key(k, "t"), key(k, "t")};
        resp(k, 3, words);
        want(k, WANT_ERROR, 0);
    }
}

static void redis_word(struct asker *k, const char *word, const char *says)
{
    resp(k, 1, &word);
    want_text(k, says);
}

/* A transaction of one request. Perhaps another key is watched, which may be on another server: then it is refused. */
static void redis_transaction(struct asker *k, bool watch, const char *end)
{
    static const struct reading_request none = {0};
    static struct reading_request r;
    const char *words[] = {watch ? "WATCH" : "GET", key(k, "t")};
    if (watch) {
        resp(k, 2, words);
        want_text(k, "+OK\r\n");
        words[0] = "GET";
        words[1] = key(k, "t");
    }
    redis_word(k, "MULTI", "+OK\r\n");
    resp(k, 2, words);
    want_text(k, "+QUEUED\r\n");
    if (strcmp(end, "EXEC") != 0) {
        redis_word(k, end, "+OK\r\n");
        return;
    }
    size_t before = buf_len(&k->answers);
    resp(k, 1, &end);
    r = none;
    r.count = 2;
    r.words[0] = SPAN("GET");
    r.words[1] = span_str(words[1]);
    put_text(&k->answers, "*1\r\n");
    answer_redis(&r, &k->answers);
    want(k, WANT_ANSWER, buf_len(&k->answers) - before);
}

static void redis_watch(struct asker *k)
{
    const char *words[] = {"WATCH", key(k, "t")};
    resp(k, 2, words);
    want_text(k, "+OK\r\n");
    redis_word(k, "UNWATCH", "+OK\r\n");
}

static void redis_block(struct asker *k)
{
    const char *words[] = {"BLPOP", key(k, "t"), "0.05"};
    size_t from = buf_len(&k->wire);
    resp(k, 3, words);
    want_answer(k, from);
}

/* A new database, and so other connections. */
static void redis_select(struct asker *k, const char *db)
{
    const char *words[] = {"SELECT", db};
    resp(k, 2, words);
    want_text(k, "+OK\r\n");
}

static void ask_session(struct asker *k, unsigned kind)
{
    switch (kind) {
    case 0:
    case 1:
        redis_transaction(k, kind == 1, "EXEC");
        break;
    case 2:
    case 3:
        redis_transaction(k, kind == 3, "DISCARD");
        break;
    case 4:
        redis_watch(k);
        break;
    case 5:
        redis_block(k);
        break;
    default:
        redis_select(k, kind == 6 ? "1" : "0");
        break;
    }
}

static void ask_redis(struct asker *k, unsigned kind)
{
    static const char *const plain[] = {"t", "t", "t", "t"};
    static const char *const shaped[] = {"t", "null", "big", "t"};
    static const char *const odd[] = {"null", "int", "err", "nest", "big"};
    if (kind < 3)
        redis_keys(k, "GET", plain, 1);
    else if (kind < 8)
        redis_keys(k, "GET", &odd[kind - 3], 1);
    else if (kind < 11)
        redis_keys(k, "MGET", plain, kind - 7);
    else if (kind == 11)
        redis_keys(k, "MGET", shaped, 4);
    else if (kind < 14)
        redis_keys(k, kind == 12 ? "DEL" : "EXISTS", plain, 3);
    else if (kind < 16)
        redis_set(k, "MSET", kind - 12, "v");
    else if (kind < 18)
        redis_set(k, "SET", 1, kind == 16 ? "v" : long_value());
    else if (kind == 18)
        redis_set(k, "MSET", 2, long_value());
    else if (kind == 19)
        redis_inline(k);
    else if (kind < 24)
        redis_local(k, kind - 20);
    else
        redis_subscription(k, kind == 25);
}

static void memcache_keys(struct asker *k, const char *command, const char *shape, size_t n)
{
    size_t from = buf_len(&k->wire);
    put_text(&k->wire, command);
    for (size_t i = 0; i < n; i++) {
        put_text(&k->wire, " ");
        put_text(&k->wire, key(k, shape));
    }
    put_text(&k->wire, "\r\n");
    want_answer(k, from);
}

static void memcache_set(struct asker *k, const char *command, const char *tail, const char *value)
{
    char line[LINE];
    size_t from = buf_len(&k->wire);
    snprintf(line, sizeof(line), "%s %s 0 0 %zu%s\r\n", command, key(k, "t"), strlen(value), tail);
    put_text(&k->wire, line);
    put_text(&k->wire, value);
    put_text(&k->wire, "\r\n");
    if (strcmp(tail, " noreply") != 0)
        want_answer(k, from);
}

/* A line with one key between `before` and `after`. */
static void memcache_line(struct asker *k, const char *before, const char *after, const char *says)
{
    char line[LINE];
    snprintf(line, sizeof(line), "%s %s%s\r\n", before, key(k, "t"), after);
    put_text(&k->wire, line);
    if (says != NULL)
        want_text(k, says);
}

static void memcache_others(struct asker *k, unsigned kind)
{
    if (kind == 0)
        memcache_line(k, "incr", " 5", "1\r\n");
    else if (kind == 1)
        memcache_line(k, "delete", "", "DELETED\r\n");
    else if (kind == 2)
        memcache_line(k, "touch", " 0", "TOUCHED\r\n");
    else if (kind == 3)
        memcache_line(k, "delete", " noreply", NULL);
    else if (kind == 4) {
        put_text(&k->wire, "version\r\n");
        want_text(k, "VERSION 1\r\n");
    } else {
        memcache_line(k, "nothing", "", NULL);
        want(k, WANT_ERROR, 0);
    }
}

static void ask_memcache(struct asker *k, unsigned kind)
{
    if (kind < 3)
        memcache_keys(k, "get", "t", 1);
    else if (kind < 6)
        memcache_keys(k, kind == 3 ? "gets" : "gat 100", "t", 1);
    else if (kind < 9)
        memcache_keys(k, "get", "t", kind - 4);
    else if (kind == 9)
        memcache_keys(k, "gats 0", "t", 3);
    else if (kind == 10)
        memcache_keys(k, "get", "miss", 1);
    else if (kind < 13)
        memcache_keys(k, "get", "big", kind - 10);
    else if (kind < 15)
        memcache_set(k, "set", "", kind == 13 ? "v" : long_value());
    else if (kind == 15)
        memcache_set(k, "set", " noreply", "v");
    else if (kind == 16)
        memcache_set(k, "add", " noreply", long_value());
    else if (kind == 17)
        memcache_set(k, "cas", " 77", "get tA1\r\n");
    else
        memcache_others(k, kind - 18);
}

void asker_ask(struct asker *k, unsigned kind)
{
    memory_aside();
    story("asker %c asks %u, then %llu\n", k->letter, kind % ASK_KINDS,
          (unsigned long long)k->world->token + 1);
    if (k->world->setup.redis && kind >= ASK_SESSIONS_FROM)
        ask_session(k, kind % ASK_SESSIONS);
    else if (k->world->setup.redis)
        ask_redis(k, kind % ASK_KINDS);
    else
        ask_memcache(k, kind % ASK_KINDS);
    memory_aside_end();
}

void asker_arrive(struct asker *k)
{
    if (k->peer != NULL && !sim_peer_gone(k->peer))
        sim_peer_close(k->peer);
    buf_clear(&k->wire);
    buf_clear(&k->answers);
    k->want_count = 0;
    k->answered = 0;
    k->errors = 0;
    k->parted = false;
    k->peer = world_client(k->world);
    story("asker %c comes%s\n", k->letter, k->peer == NULL ? " in vain" : "");
    if (k->peer == NULL || !k->world->setup.redis || !k->world->setup.auth)
        return;
    memory_aside();
    put_text(&k->wire, "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n");
    want_text(k, "+OK\r\n");
    memory_aside_end();
}

void asker_send(struct asker *k, size_t n)
{
    struct span all = buf_span(&k->wire);
    if (n > all.len)
        n = all.len;
    story("asker %c sends %zu of %zu\n", k->letter, n, all.len);
    memory_aside();
    if (n > 0 && k->peer != NULL)
        (void)!sim_peer_send(k->peer, span_of(all.ptr, n));
    memory_aside_end();
    buf_consume(&k->wire, n);
}

/* ---- getting answers ---- */

/* Is (the beginning of) a line that says an error at the front of `got`? */
static bool may_be_error(const struct asker *k, struct span got)
{
    static const char *const words[] = {"ERROR", "CLIENT_ERROR", "SERVER_ERROR"};
    if (got.len == 0 || k->world->setup.redis)
        return got.len == 0 || got.ptr[0] == '-';
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        size_t n = strlen(words[i]) < got.len ? strlen(words[i]) : got.len;
        if (memcmp(got.ptr, words[i], n) == 0)
            return true;
    }
    return false;
}

/* Bytes of the line at the front; 0: it is not whole. */
static size_t line_len(struct span got)
{
    const char *lf = got.len == 0 ? NULL : memchr(got.ptr, '\n', got.len);
    return lf == NULL ? 0 : (size_t)(lf - got.ptr) + 1;
}

/* Bytes of the VALUE block at the front of a memcached's answer; 0: there is none. */
static size_t block_len(struct span answer)
{
    size_t header = line_len(answer);
    if (!begins(answer, "VALUE "))
        return 0;
    return header + line_len(span_from(answer, header));
}

/* Steps over the blocks at the front of `got` that are of the answer, of which some may be missing. False: more bytes are
 * needed. */
static bool take_blocks(struct span got, struct span answer, size_t *at)
{
    size_t len;
    for (size_t from = 0; (len = block_len(span_from(answer, from))) > 0; from += len) {
        size_t left = got.len - *at;
        size_t n = left < len ? left : len;
        if (memcmp(got.ptr + *at, answer.ptr + from, n) != 0)
            continue;
        if (n < len)
            return false;
        *at += len;
    }
    return true;
}

/* An error in place of the answer; or, from memcached, the blocks of the servers that answered and then an error. */
static size_t take_error(struct asker *k, struct span got, struct span answer)
{
    size_t at = 0;
    if (!k->world->setup.redis && !take_blocks(got, answer, &at))
        return 0;
    if (!may_be_error(k, span_from(got, at)))
        story("asker %c gets %.*s in place of %.*s\n", k->letter, (int)got.len, got.ptr,
              (int)answer.len, answer.ptr);
    must(may_be_error(k, span_from(got, at)));
    size_t line = line_len(span_from(got, at));
    k->errors += line > 0;
    return line == 0 ? 0 : at + line;
}

/* Bytes of the answer at the front of `got`; 0: it is not whole. */
static size_t take_answer(struct asker *k, struct span got)
{
    const struct want *w = &k->wants[k->answered];
    struct span answer = span_of(buf_span(&k->answers).ptr, w->len);
    size_t most = got.len < answer.len ? got.len : answer.len;
    if (w->kind == WANT_ERROR || memcmp(got.ptr, answer.ptr, most) != 0)
        return take_error(k, got, answer);
    return most == answer.len ? most : 0;
}

/* Whatever is an answer will do. */
static size_t take_any(struct asker *k, struct span got)
{
    size_t len = 0;
    enum reading r =
        k->world->setup.redis ? read_redis_reply(got, &len) : read_memcache_reply(got, true, &len);
    must(r != READING_WRONG || k->world->poisoned);
    return r == READING_WHOLE ? len : 0;
}

/* More came than was asked for: a last line that says why the connection is closed, be it in the middle of a request, or
 * behind one that wants no answer. */
static void part(struct asker *k, struct span got)
{
    story("asker %c gets more: %.*s\n", k->letter, (int)got.len, got.ptr);
    must(k->world->poisoned || (may_be_error(k, got) && line_len(got) % got.len == 0));
    k->parted = true;
}

void asker_check(struct asker *k)
{
    struct span got = k->peer == NULL ? SPAN("") : sim_peer_received(k->peer);
    size_t at = 0;
    while (at < got.len) {
        if (k->answered == k->want_count) {
            part(k, span_from(got, at));
            break;
        }
        size_t used = k->world->poisoned ? take_any(k, span_from(got, at))
                                         : take_answer(k, span_from(got, at));
        if (used == 0)
            break;
        story("asker %c gets %.*s\n", k->letter, used < 60 ? (int)used : 60, got.ptr + at);
        buf_consume(&k->answers, k->wants[k->answered].len);
        k->answered++;
        at += used;
    }
    if (at > 0)
        sim_peer_drop(k->peer, at);
}
