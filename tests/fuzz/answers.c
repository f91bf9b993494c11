/* SPDX-License-Identifier: BSD-3-Clause */
#include "answers.h"

#include <stdio.h>
#include <string.h>

#include "base/must.h"

enum { BIG = 20000 };

void put(struct buf *out, struct span s)
{
    must(buf_append(out, s));
}

void put_text(struct buf *out, const char *text)
{
    put(out, span_str(text));
}

void put_header(struct buf *out, char mark, size_t n)
{
    char text[32];
    snprintf(text, sizeof(text), "%c%zu\r\n", mark, n);
    put_text(out, text);
}

bool begins(struct span s, const char *text)
{
    return s.len >= strlen(text) && memcmp(s.ptr, text, strlen(text)) == 0;
}

static bool is(struct span s, const char *text)
{
    return span_ieq(s, span_str(text));
}

/* Of a key that begins with "big" the value is as long as that makes it; its own name comes first. */
static size_t value_len(struct span key)
{
    return key.len + 2 + (begins(key, "big") ? BIG : 0);
}

static void put_value(struct buf *out, struct span key)
{
    put_text(out, "<");
    put(out, key);
    put_text(out, ">");
    if (!begins(key, "big"))
        return;
    must(buf_reserve(out, BIG));
    memset(out->data + out->tail, 'v', BIG);
    out->tail += BIG;
}

static const struct {
    const char *key, *reply;
} shapes[] = {
    {"null", "$-1\r\n"},
    {"int", ":-42\r\n"},
    {"err", "-WRONGTYPE no such thing\r\n"},
    {"nest", "*4\r\n*2\r\n:1\r\n*-1\r\n$3\r\na\r\n\r\n*0\r\n*1\r\n*1\r\n*1\r\n-x\r\n"},
};

static void redis_value(struct span key, bool any_shape, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        if (begins(key, shapes[i].key)) {
            put_text(out, any_shape ? shapes[i].reply : shapes[0].reply);
            return;
        }
    }
    put_header(out, '$', value_len(key));
    put_value(out, key);
    put_text(out, "\r\n");
}

/* SUBSCRIBE and its like, of one topic. */
static bool redis_subscription(const struct reading_request *r, struct buf *out)
{
    static const char *const all[] = {"subscribe",   "psubscribe",   "ssubscribe",
                                      "unsubscribe", "punsubscribe", "sunsubscribe"};
    for (size_t i = 0; i < ARRAY_LEN(all) && r->count == 2; i++) {
        if (!is(r->words[0], all[i]))
            continue;
        put_text(out, "*3\r\n");
        put_header(out, '$', strlen(all[i]));
        put_text(out, all[i]);
        put_text(out, "\r\n");
        put_header(out, '$', r->words[1].len);
        put(out, r->words[1]);
        put_text(out, "\r\n:1\r\n");
        return true;
    }
    return false;
}

void answer_redis(const struct reading_request *r, struct buf *out)
{
    static const char *const counting[] = {"DEL", "UNLINK", "TOUCH", "EXISTS"};
    for (size_t i = 0; i < ARRAY_LEN(counting); i++) {
        if (is(r->words[0], counting[i])) {
            put_header(out, ':', r->count - 1);
            return;
        }
    }
    if (redis_subscription(r, out)) {
        return;
    } else if (is(r->words[0], "PING")) {
        put_text(out, "+PONG\r\n");
    } else if (is(r->words[0], "BLPOP") && r->count > 2) {
        put_text(out, "*2\r\n");
        redis_value(r->words[1], false, out);
        put_text(out, "$1\r\nv\r\n");
    } else if (is(r->words[0], "HELLO")) {
        bool three = r->count > 1 && is(r->words[1], "3");
        put_text(out, three ? "%2\r\n" : "*4\r\n");
        put_text(out, "$5\r\nproto\r\n");
        put_header(out, ':', three ? 3 : 2);
        put_text(out, "$7\r\nversion\r\n$5\r\n7.2.0\r\n");
    } else if (is(r->words[0], "GET") && r->count == 2) {
        redis_value(r->words[1], true, out);
    } else if (is(r->words[0], "MGET")) {
        put_header(out, '*', r->count - 1);
        for (size_t i = 1; i < r->count; i++)
            redis_value(r->words[i], false, out);
    } else {
        put_text(out, "+OK\r\n");
    }
}

static void memcache_values(const struct reading_request *r, size_t first, bool cas,
                            struct buf *out)
{
    for (size_t i = first; i < r->count; i++) {
        char tail[48];
        if (begins(r->words[i], "miss"))
            continue;
        snprintf(tail, sizeof(tail), " 0 %zu%s\r\n", value_len(r->words[i]), cas ? " 77" : "");
        put_text(out, "VALUE ");
        put(out, r->words[i]);
        put_text(out, tail);
        put_value(out, r->words[i]);
        put_text(out, "\r\n");
    }
    put_text(out, "END\r\n");
}

void answer_memcache(const struct reading_request *r, struct buf *out)
{
    static const struct {
        const char *command, *reply;
    } lines[] = {{"incr", "1\r\n"},        {"decr", "0\r\n"},       {"delete", "DELETED\r\n"},
                 {"touch", "TOUCHED\r\n"}, {"flush_all", "OK\r\n"}, {"version", "VERSION 1\r\n"},
                 {"mn", "MN\r\n"},         {"mg", "EN\r\n"},        {"me", "EN\r\n"},
                 {"ms", "NS\r\n"},         {"md", "NF\r\n"},        {"ma", "NF\r\n"}};
    bool touches = is(r->words[0], "gat") || is(r->words[0], "gats");
    bool cas = is(r->words[0], "gets") || is(r->words[0], "gats");
    if (touches || cas || is(r->words[0], "get")) {
        memcache_values(r, touches ? 2 : 1, cas, out);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        if (is(r->words[0], lines[i].command)) {
            put_text(out, lines[i].reply);
            return;
        }
    }
    put_text(out, "STORED\r\n");
}
