/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/tell.h"

#include <string.h>

#include "proto/redis/login.h"
#include "proto/redis/number.h"
#include "proto/redis/reply.h"

/* Said where no server has told its version yet: what all commands that clients look for have. */
#define VERSION_UNKNOWN SPAN("7.0.0")

struct span question_word(const struct question *q, uint32_t i)
{
    return i < q->v->args->count ? args_span(q->v->args, q->v->base, i) : SPAN("");
}

bool question_is(const struct question *q, uint32_t i, struct span word)
{
    return span_ieq(question_word(q, i), word);
}

struct span question_version(const struct question *q)
{
    struct span version = span_str(q->facts->about->version);
    return version.len > 0 ? version : VERSION_UNKNOWN;
}

bool redis_about(struct buf *out, uint8_t *expect)
{
    *expect = REPLY_RESP2;
    return buf_append(out, SPAN("*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n"));
}

static bool begins(struct span s, struct span with)
{
    return s.len >= with.len && memcmp(s.ptr, with.ptr, with.len) == 0;
}

/* Adds a line of text to what is kept, if it is whole then. */
static void keep_line(struct proto_about *a, struct span line)
{
    size_t at = strlen(a->lines);
    if (line.len + 2 >= sizeof(a->lines) - at)
        return;
    memcpy(a->lines + at, line.ptr, line.len);
    memcpy(a->lines + at + line.len, "\r\n", 3);
}

/* Servers that are not redis itself say what they are, and that they do as redis of some version. */
static void read_about_line(struct span line, struct proto_about *a)
{
    static const struct span version = SPAN("redis_version:");
    static const struct span others[] = {SPAN("server_name:"), SPAN("valkey_version:"),
                                         SPAN("valkey_release_stage:"), SPAN("dragonfly_version:")};
    if (begins(line, version) && line.len - version.len < sizeof(a->version))
        memcpy(a->version, line.ptr + version.len, line.len - version.len);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (begins(line, others[i]))
            keep_line(a, line);
}

bool redis_about_read(struct span reply, struct proto_about *out)
{
    struct proto_about a = {.version = ""};
    const char *end;
    for (struct span rest = reply; (end = memchr(rest.ptr, '\r', rest.len)) != NULL;) {
        size_t len = (size_t)(end - rest.ptr);
        read_about_line(span_of(rest.ptr, len), &a);
        rest = span_from(rest, len + 2 < rest.len ? len + 2 : rest.len);
    }
    if (a.version[0] == '\0')
        return false;
    *out = a;
    return true;
}

/* What HELLO says when there is no server that could. */
void tell_hello(struct question *q)
{
    static const struct span lines = SPAN("server_name:");
    const char *name = q->facts->about->lines;
    bool named = strncmp(name, lines.ptr, lines.len) == 0;
    write_map(q->w, 7);
    write_bulk(q->w, SPAN("server"));
    write_bulk(q->w,
               named ? span_of(name + lines.len, strcspn(name + lines.len, "\r")) : SPAN("redis"));
    write_bulk(q->w, SPAN("version"));
    write_bulk(q->w, question_version(q));
    write_bulk(q->w, SPAN("proto"));
    write_integer(q->w, q->w->resp);
    write_bulk(q->w, SPAN("id"));
    write_integer(q->w, (int64_t)q->facts->client_id);
    write_bulk(q->w, SPAN("mode"));
    write_bulk(q->w, SPAN("standalone"));
    write_bulk(q->w, SPAN("role"));
    write_bulk(q->w, SPAN("master"));
    write_bulk(q->w, SPAN("modules"));
    write_array(q->w, 0);
}

static void tell_time(struct question *q)
{
    char digits[NUMBER_MAX];
    write_array(q->w, 2);
    write_bulk(q->w, span_of(digits, number_write(digits, q->facts->now_us / 1000000)));
    write_bulk(q->w, span_of(digits, number_write(digits, q->facts->now_us % 1000000)));
}

bool redis_tell(const struct request_view *v, struct proto_session *ses,
                const struct proto_facts *facts, struct buf *out)
{
    struct writer w = {.out = out, .resp = session_resp(ses)};
    struct question q = {v, ses, facts, &w};
    switch (v->join) {
    case CLASS_TIME:
        tell_time(&q);
        break;
    case CLASS_INFO:
        tell_info(&q);
        break;
    case CLASS_HELLO:
        tell_hello(&q);
        break;
    case CLASS_CONFIG_GET:
        tell_config_get(&q);
        break;
    default:
        tell_client(&q, v->join);
    }
    return !w.failed;
}
