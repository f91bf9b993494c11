/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/tell.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum topic { TOPIC_PROXY, TOPIC_SERVERS, TOPIC_SETTINGS };

enum { ROW_MAX = 1024 }; /* bytes of a row; a longer one is cut */

enum parse tell_read(struct reading *r)
{
    static const struct {
        struct span name;
        enum topic topic;
    } topics[] = {{{"servers", 7}, TOPIC_SERVERS}, {{"settings", 8}, TOPIC_SETTINGS}};
    struct request_view *out = r->out;
    out->kind = REQUEST_TELL;
    out->len = r->line.len;
    out->join = TOPIC_PROXY;
    if (r->words.count == 1)
        return PARSE_DONE;
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) {
        out->join = (uint8_t)topics[i].topic;
        if (r->words.count == 2 && span_eq(r->words.v[1], topics[i].name))
            return PARSE_DONE;
    }
    return reading_answer(r,
                          SPAN("CLIENT_ERROR only stats, stats servers and stats settings are "
                               "served by this proxy: ask a server directly\r\n"),
                          false);
}

/* Appends one row. False if memory is out. */
static __attribute__((format(printf, 2, 3))) bool row(struct buf *out, const char *format, ...)
{
    char text[ROW_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n < 0)
        return false;
    size_t len = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    /* Whatever a name or a value holds, the row stays one line. */
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ')
            text[i] = ' ';
    return buf_append(out, SPAN("STAT ")) && buf_append(out, span_of(text, len)) &&
           buf_append(out, SPAN("\r\n"));
}

/* What a server is asked and answers, over all servers. */
static bool tell_sums(const struct proto_facts *f, struct buf *out)
{
    static const char *const summed[] = {"requests", "request_bytes", "responses", "response_bytes",
                                         "server_connections"};
    struct proto_number n;
    for (uint32_t i = 0; f->server_number(f, 0, i, &n); i++) {
        uint64_t sum = 0;
        const char *name = NULL;
        for (size_t k = 0; k < ARRAY_LEN(summed) && name == NULL; k++)
            name = strcmp(summed[k], n.name) == 0 ? n.name : NULL;
        for (uint32_t s = 0; name != NULL && s < f->server_count; s++)
            if (f->server_number(f, s, i, &n))
                sum += n.value;
        if (name != NULL && !row(out, "%s %" PRIu64, name, sum))
            return false;
    }
    return true;
}

static bool tell_proxy(const struct proto_facts *f, struct buf *out)
{
    struct proto_number n;
    bool good = row(out, "pid %" PRIu64, f->pid) && row(out, "uptime %" PRIu64, f->uptime) &&
                row(out, "time %" PRIu64, f->now_us / 1000000) &&
                row(out, "version cashew-%.*s", (int)f->version.len, f->version.ptr) &&
                row(out, "pointer_size %zu", 8 * sizeof(void *)) &&
                row(out, "threads %" PRIu32, f->workers) && row(out, "rss %" PRIu64, f->memory()) &&
                row(out, "pool %.*s", (int)f->pool.len, f->pool.ptr) &&
                row(out, "servers %" PRIu32, f->server_count);
    for (uint32_t i = 0; good && f->number(f, i, &n); i++) {
        /* The name that clients of memcached look for. */
        if (strcmp(n.name, "client_connections") == 0)
            good = row(out, "curr_connections %" PRIu64, n.value);
        good = good && row(out, "%s %" PRIu64, n.name, n.value);
    }
    return good && tell_sums(f, out);
}

static bool tell_servers(const struct proto_facts *f, struct buf *out)
{
    bool good = true;
    for (uint32_t s = 0; good && s < f->server_count; s++) {
        struct proto_server_fact server;
        struct proto_number n;
        f->server(f, s, &server);
        good = row(out, "server:%" PRIu32 ":name %.*s", s, (int)server.name.len, server.name.ptr) &&
               row(out, "server:%" PRIu32 ":address %.*s", s, (int)server.address.len,
                   server.address.ptr);
        for (uint32_t i = 0; good && f->server_number(f, s, i, &n); i++)
            good = row(out, "server:%" PRIu32 ":%s %" PRIu64, s, n.name, n.value);
    }
    return good;
}

static bool tell_settings(const struct proto_facts *f, struct buf *out)
{
    char value[ROW_MAX / 2];
    const char *name;
    bool good = true;
    for (uint32_t i = 0; good && (name = f->setting(f, i, value, sizeof(value))) != NULL; i++)
        good = row(out, "%s %s", name, value[0] == '\0' ? "NULL" : value);
    return good;
}

bool tell_answer(const struct request_view *v, struct proto_session *ses,
                 const struct proto_facts *facts, struct buf *out)
{
    (void)ses;
    bool good = true;
    switch ((enum topic)v->join) {
    case TOPIC_PROXY:
        good = tell_proxy(facts, out);
        break;
    case TOPIC_SERVERS:
        good = tell_servers(facts, out);
        break;
    case TOPIC_SETTINGS:
        good = tell_settings(facts, out);
        break;
    }
    return good && buf_append(out, SPAN("END\r\n"));
}
