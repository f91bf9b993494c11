/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit redis is the redis protocol as the proxy sees it: RESP2 on both sides. */
#include <string.h>

#include "proto/proto.h"
#include "proto/redis/number.h"
#include "proto/redis/reply.h"
#include "proto/redis/request.h"
#include "proto/redis/split.h"

static uint8_t expect_any(const struct request_view *v)
{
    (void)v;
    return 0;
}

static bool put(struct buf *out, struct span s)
{
    memcpy(out->data + out->tail, s.ptr, s.len);
    out->tail += s.len;
    return true;
}

static bool error(struct buf *out, struct span reason)
{
    if (!buf_reserve(out, reason.len + 8))
        return false;
    put(out, SPAN("-ERR "));
    for (size_t i = 0; i < reason.len; i++) {
        char c = reason.ptr[i];
        out->data[out->tail++] = (c == '\r' || c == '\n') ? ' ' : c;
    }
    return put(out, SPAN("\r\n"));
}

static bool error_cross(struct buf *out, const struct request_view *v)
{
    (void)v;
    return buf_append(out,
                      SPAN("-CROSSSLOT Keys in request don't hash to the same slot, they are on "
                           "different servers (hint: set hash_tag, such as \"{}\", and give the "
                           "keys a common tag, as {user1}a and {user1}b)\r\n"));
}

static bool put_bulk(struct buf *out, struct span s)
{
    char header[NUMBER_MAX + 3] = "$";
    size_t len = 1 + number_write(header + 1, s.len);
    memcpy(header + len, "\r\n", 2);
    return buf_append(out, span_of(header, len + 2)) && buf_append(out, s) &&
           buf_append(out, SPAN("\r\n"));
}

static uint32_t handshake(const struct proto_settings *set, struct buf *out, uint8_t *expect)
{
    uint32_t replies = 0;
    bool ok = true;
    *expect = 0;
    /* A password first: without it the database would not be selected, and keys would land in
     * another. */
    if (set->password.len > 0) {
        ok = buf_append(out, SPAN("*2\r\n$4\r\nAUTH\r\n")) && put_bulk(out, set->password);
        replies++;
    }
    if (ok && set->db > 0) {
        char db[NUMBER_MAX];
        size_t len = number_write(db, set->db);
        ok = buf_append(out, SPAN("*2\r\n$6\r\nSELECT\r\n")) && put_bulk(out, span_of(db, len));
        replies++;
    }
    return ok ? replies : UINT32_MAX;
}

static bool handshake_ok(uint32_t i, struct span reply)
{
    (void)i;
    return reply.len >= 3 && memcmp(reply.ptr, "+OK", 3) == 0;
}

const struct proto proto_redis = {
    .name = "redis",
    .parse_request = redis_request_parse,
    .compose_part = redis_compose_part,
    .part_expect = expect_any,
    .parse_reply = redis_reply_parse,
    .reply_reset = redis_reply_reset,
    .join = redis_join,
    .error = error,
    .error_cross = error_cross,
    .handshake = handshake,
    .handshake_ok = handshake_ok,
};
