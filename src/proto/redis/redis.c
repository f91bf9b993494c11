/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit redis is the redis protocol as the proxy sees it: RESP2 or RESP3, the same
 * on both sides. */
#include <string.h>

#include "proto/proto.h"
#include "proto/redis/command.h"
#include "proto/redis/identity.h"
#include "proto/redis/join.h"
#include "proto/redis/login.h"
#include "proto/redis/number.h"
#include "proto/redis/reply.h"
#include "proto/redis/request.h"
#include "proto/redis/script.h"
#include "proto/redis/split.h"
#include "proto/redis/subscribe.h"
#include "proto/redis/tell.h"
#include "proto/redis/transaction.h"

/* Every part speaks as the whole does, and must be of a shape that can be joined. */
static uint8_t part_expect(const struct request_view *v)
{
    return reply_of_shape(v->expect, redis_join_shape(v->join));
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

/* AUTH as a command of its own, or as the end of HELLO, which wants the user's name. */
static bool put_auth(struct buf *out, const struct proto_login *login)
{
    struct span user = login->user.len > 0 ? login->user : SPAN("default");
    bool hello = login->resp == 3;
    bool named = hello || login->user.len > 0;
    return (hello || buf_append(out, named ? SPAN("*3\r\n") : SPAN("*2\r\n"))) &&
           put_bulk(out, SPAN("AUTH")) && (!named || put_bulk(out, user)) &&
           put_bulk(out, login->password);
}

static bool put_select(struct buf *out, uint32_t db)
{
    char text[NUMBER_MAX];
    return buf_append(out, SPAN("*2\r\n$6\r\nSELECT\r\n")) &&
           put_bulk(out, span_of(text, number_write(text, db)));
}

static uint32_t handshake(const struct proto_login *login, struct buf *out, uint8_t *expect)
{
    bool hello = login->resp == 3;
    bool auth = login->password.len > 0 || login->user.len > 0;
    bool ok = true;
    *expect = hello ? REPLY_RESP3 : REPLY_RESP2;
    if (hello)
        ok = buf_append(out, auth ? SPAN("*5\r\n") : SPAN("*2\r\n")) &&
             buf_append(out, SPAN("$5\r\nHELLO\r\n$1\r\n3\r\n"));
    /* A password first: without it the database would not be selected, and keys would land in
     * another. */
    ok = ok && (!auth || put_auth(out, login)) && (login->db == 0 || put_select(out, login->db));
    return ok ? (uint32_t)(hello || auth) + (login->db > 0) : UINT32_MAX;
}

static bool handshake_ok(uint32_t i, struct span reply)
{
    bool told = i == 0 && reply.len > 0 && reply.ptr[0] == '%'; /* what HELLO says */
    return told || (reply.len >= 3 && memcmp(reply.ptr, "+OK", 3) == 0);
}

/* An error may come as a string with a length, whose header must not stand alone. */
static size_t refusal(struct span reply, char *line)
{
    size_t len = 0;
    const char *text = reply.ptr + 1;
    const char *end = reply.ptr + reply.len;
    if (reply.len > 0 && reply.ptr[0] == '!')
        text = memchr(reply.ptr, '\n', reply.len);
    else if (reply.len == 0 || reply.ptr[0] != '-')
        return 0;
    if (text == NULL)
        return 0;
    text += reply.ptr[0] == '!';
    line[len++] = '-';
    while (text < end && *text != '\r' && *text != '\n')
        line[len++] = *text++;
    memcpy(line + len, "\r\n", 2);
    return len + 2;
}

static bool probe(struct buf *out, uint8_t *expect)
{
    *expect = 0;
    return buf_append(out, SPAN("*1\r\n$4\r\nPING\r\n"));
}

/* An error says that somebody is there; but these are from servers that have nothing to say yet, or
 * nothing right now. Any other one, such as that PING is not allowed, leaves the server as useful as
 * it is without ejection. */
static bool alive(struct span reply)
{
    static const struct span not_now[] = {
        {"-LOADING", 8}, {"-MASTERDOWN", 11}, {"-BUSY ", 6}, {"-CLUSTERDOWN", 12}};
    if (reply.len == 0 || (reply.ptr[0] != '+' && reply.ptr[0] != '-'))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(not_now); i++)
        if (reply.len >= not_now[i].len && memcmp(reply.ptr, not_now[i].ptr, not_now[i].len) == 0)
            return false;
    return true;
}

const struct proto proto_redis = {
    .name = "redis",
    .parse_request = redis_request_parse,
    .tell = redis_tell,
    .session_end = identity_free,
    .login_begin = login_note,
    .login_end = login_over,
    .commands_new = command_table_new,
    .commands_free = command_table_free,
    .compose_part = redis_compose_part,
    .part_expect = part_expect,
    .parse_reply = redis_reply_parse,
    .reply_reset = redis_reply_reset,
    .join = redis_join,
    .transaction = &redis_transaction,
    .wait = &redis_wait,
    .scripts = &redis_scripts,
    .pubsub = &redis_pubsub,
    .error = error,
    .error_cross = error_cross,
    .handshake = handshake,
    .handshake_ok = handshake_ok,
    .refusal = refusal,
    .probe = probe,
    .alive = alive,
    .about = redis_about,
    .about_read = redis_about_read,
};
