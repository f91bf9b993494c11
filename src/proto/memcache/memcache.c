/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit memcache is the text protocol of memcached as the rest of the house sees it: the one const
 * vtable. */
#include "proto/memcache/meta.h"
#include "proto/memcache/reply.h"
#include "proto/memcache/request.h"
#include "proto/memcache/tell.h"
#include "proto/proto.h"

static uint8_t part_expect(const struct request_view *v)
{
    return v->expect;
}

static void reply_reset(struct reply_parser *p)
{
    *p = (struct reply_parser){0};
}

static bool error_line(struct buf *out, struct span reason)
{
    static const struct span before = {"SERVER_ERROR ", 13};
    if (!buf_reserve(out, before.len + reason.len + 2))
        return false;
    (void)!buf_append(out, before);
    /* A name in it must not end the line early. */
    for (size_t i = 0; i < reason.len; i++) {
        char c = reason.ptr[i];
        out->data[out->tail++] = (c == '\r' || c == '\n') ? ' ' : c;
    }
    return buf_append(out, SPAN("\r\n"));
}

/* No command of memcached needs its keys on one server; a get is split. */
static bool error_cross(struct buf *out, const struct request_view *v)
{
    (void)v;
    return error_line(out, SPAN("keys of this command are on different servers"));
}

/* A memcached takes requests from the first byte on. */
static uint32_t handshake(const struct proto_login *login, struct buf *out, uint8_t *expect)
{
    (void)login;
    (void)out;
    *expect = EXPECT_NOTHING;
    return 0;
}

static bool handshake_ok(uint32_t i, struct span reply)
{
    (void)i;
    (void)reply;
    return false;
}

static bool probe(struct buf *out, uint8_t *expect)
{
    *expect = EXPECT_VERSION;
    return buf_append(out, SPAN("version\r\n"));
}

static bool alive(struct span reply)
{
    return reply.len >= 8 && memcmp(reply.ptr, "VERSION ", 8) == 0;
}

const struct proto proto_memcache = {
    .name = "memcache",
    .parse_request = memcache_parse_request,
    .tell = tell_answer,
    .compose_part = memcache_compose_part,
    .part_expect = part_expect,
    .parse_reply = memcache_parse_reply,
    .unheard = meta_unheard,
    .reply_reset = reply_reset,
    .join = memcache_join,
    .error = error_line,
    .error_cross = error_cross,
    .handshake = handshake,
    .handshake_ok = handshake_ok,
    .probe = probe,
    .alive = alive,
};
