/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/subscribe.h"

#include <string.h>

#include "proto/redis/answer.h"
#include "proto/redis/login.h"
#include "proto/redis/number.h"
#include "proto/redis/writer.h"

enum {
    LINE_MOST = 65536, /* bytes of an error line */
    HEADER_BYTES = 24, /* of a mark, a number and the line end */
    PARTS_MOST = 4,    /* of an array that a server says */
};
/* Bytes of a string that a server says. */
#define BULK_MOST ((uint64_t)1 << 40)

/* ---- clients ---- */

void subscribe_view(const struct command *c, struct request_view *v)
{
    static const uint8_t kinds[] = {
        [CLASS_SUBSCRIBE] = TOPIC_CHANNEL,  [CLASS_UNSUBSCRIBE] = TOPIC_CHANNEL,
        [CLASS_PSUBSCRIBE] = TOPIC_PATTERN, [CLASS_PUNSUBSCRIBE] = TOPIC_PATTERN,
        [CLASS_SSUBSCRIBE] = TOPIC_SHARD,   [CLASS_SUNSUBSCRIBE] = TOPIC_SHARD};
    bool on =
        c->class == CLASS_SUBSCRIBE || c->class == CLASS_PSUBSCRIBE || c->class == CLASS_SSUBSCRIBE;
    v->kind = REQUEST_SESSION;
    v->verb = on ? SESSION_SUBSCRIBE : SESSION_UNSUBSCRIBE;
    v->topic = kinds[c->class];
    v->keys[0] = (struct key_range){1, v->args->count - 1, 1};
    v->ranges = 1;
}

/* In RESP2 a subscriber is answered in the shape of a message. */
static bool answer_ping(const struct command *c, struct request_view *v, struct buf *scratch)
{
    struct writer w = {.out = scratch, .resp = 2};
    size_t before = buf_len(scratch);
    if (v->args->count > 2)
        return answer_arity(c, v, scratch);
    struct span text = v->args->count == 2 ? args_span(v->args, v->base, 1) : SPAN("");
    /* The text may lie in scratch, which moves when it grows. */
    if (!buf_reserve(scratch, text.len + 64))
        return false;
    text = v->args->count == 2 ? args_span(v->args, v->base, 1) : SPAN("");
    write_array(&w, 2);
    write_bulk(&w, SPAN("pong"));
    write_bulk(&w, text);
    answer_static(v, span_from(buf_span(scratch), before));
    return !w.failed;
}

bool subscribe_allows(const struct command *c, const struct proto_session *ses,
                      struct request_view *v, struct buf *scratch, bool *memory)
{
    bool always = command_way(c->class) == WAY_PUBSUB || c->class == CLASS_QUIT ||
                  c->class == CLASS_RESET || c->class == CLASS_DENIED;
    if (always || session_resp(ses) == 3)
        return true;
    *memory =
        c->class == CLASS_PING ? answer_ping(c, v, scratch) : answer_only_pubsub(c, v, scratch);
    return false;
}

static const struct span on_words[] = {{"subscribe", 9}, {"psubscribe", 10}, {"ssubscribe", 10}};
static const struct span off_words[] = {
    {"unsubscribe", 11}, {"punsubscribe", 12}, {"sunsubscribe", 12}};
static const struct span message_words[] = {{"message", 7}, {"pmessage", 8}, {"smessage", 8}};

static void tell_head(struct writer *w, enum topic_kind kind, bool on)
{
    write_raw(w, w->resp == 3 ? SPAN(">3\r\n") : SPAN("*3\r\n"));
    write_bulk(w, on ? on_words[kind] : off_words[kind]);
}

static bool tell(struct buf *out, uint8_t resp, enum topic_kind kind, bool on, struct span name,
                 uint64_t count)
{
    struct writer w = {.out = out, .resp = resp};
    tell_head(&w, kind, on);
    write_bulk(&w, name);
    write_integer(&w, (int64_t)count);
    return !w.failed;
}

static bool tell_none(struct buf *out, uint8_t resp, enum topic_kind kind, uint64_t count)
{
    struct writer w = {.out = out, .resp = resp};
    tell_head(&w, kind, false);
    write_null(&w);
    write_integer(&w, (int64_t)count);
    return !w.failed;
}

/* In RESP3 it is a push, and else the same. */
static struct span message(struct span m, uint8_t resp, struct buf *work)
{
    if (resp != 3)
        return m;
    if (!buf_append(work, SPAN(">")) || !buf_append(work, span_from(m, 1)))
        return SPAN("");
    return buf_span(work);
}

/* ---- servers ---- */

static bool ask(struct buf *out, enum topic_kind kind, bool on, struct span name)
{
    struct writer w = {.out = out, .resp = 2};
    write_array(&w, 2);
    write_bulk(&w, on ? on_words[kind] : off_words[kind]);
    write_bulk(&w, name);
    return !w.failed;
}

static bool ping(struct buf *out)
{
    return buf_append(out, SPAN("*1\r\n$4\r\nPING\r\n"));
}

/* What a server tells of its keys is not published by anybody: each tells of its own. */
static bool everywhere(struct span name)
{
    static const struct span begins[] = {{"__keyspace@", 11}, {"__keyevent@", 11}};
    for (size_t i = 0; i < ARRAY_LEN(begins); i++)
        if (name.len >= begins[i].len && memcmp(name.ptr, begins[i].ptr, begins[i].len) == 0)
            return true;
    return false;
}

/* Reads the line `mark number` at the front of `in`. */
static enum parse read_header(struct span in, char mark, size_t *used, uint64_t *n)
{
    if (in.len > 0 && in.ptr[0] != mark)
        return PARSE_BAD;
    const char *cr = memchr(in.ptr, '\r', in.len < HEADER_BYTES ? in.len : HEADER_BYTES);
    if (cr == NULL)
        return in.len < HEADER_BYTES ? PARSE_MORE : PARSE_BAD;
    size_t digits = (size_t)(cr - in.ptr) - 1;
    if (!span_u64(span_of(in.ptr + 1, digits), BULK_MOST, n))
        return PARSE_BAD;
    *used = digits + 3;
    if (in.len < *used)
        return PARSE_MORE;
    return cr[1] == '\n' ? PARSE_DONE : PARSE_BAD;
}

/* Reads the string at `*at` of `in`. */
static enum parse read_bulk(struct span in, size_t *at, struct span *out)
{
    uint64_t len = 0;
    size_t header = 0;
    enum parse got = read_header(span_from(in, *at), '$', &header, &len);
    if (got != PARSE_DONE)
        return got;
    size_t body = *at + header;
    if (in.len - body < len + 2)
        return PARSE_MORE;
    *out = span_of(in.ptr + body, len);
    *at = body + len + 2;
    return memcmp(in.ptr + *at - 2, "\r\n", 2) == 0 ? PARSE_DONE : PARSE_BAD;
}

static bool find_word(struct span word, const struct span words[TOPIC_KINDS], struct news *out)
{
    for (int kind = 0; kind < TOPIC_KINDS; kind++) {
        if (span_eq(word, words[kind])) {
            out->topic = (enum topic_kind)kind;
            return true;
        }
    }
    return false;
}

/* The strings of an array that was announced to have `count` elements; the last may be a number, which
 * is of no interest. */
static enum parse read_parts(struct span in, size_t *at, uint64_t count, bool number,
                             struct span parts[PARTS_MOST])
{
    enum parse got = PARSE_DONE;
    for (uint64_t i = 0; i < count - number && got == PARSE_DONE; i++)
        got = read_bulk(in, at, &parts[i]);
    if (got != PARSE_DONE || !number)
        return got;
    uint64_t ignored = 0;
    size_t header = 0;
    got = read_header(span_from(in, *at), ':', &header, &ignored);
    *at += header;
    return got;
}

/* What the first word of an array says it is; false: nothing that a server says, or not of so many
 * elements. */
static bool judge(struct span word, uint64_t count, struct news *out)
{
    if (find_word(word, message_words, out)) {
        out->kind = NEWS_MESSAGE;
        return count == (out->topic == TOPIC_PATTERN ? 4 : 3);
    }
    if (span_eq(word, SPAN("pong"))) {
        out->kind = NEWS_PONG;
        return count == 2;
    }
    out->kind = find_word(word, on_words, out) ? NEWS_ON : NEWS_OFF;
    return count == 3 && (out->kind == NEWS_ON || find_word(word, off_words, out));
}

static enum parse hear_array(struct span in, struct news *out)
{
    uint64_t count = 0;
    size_t at = 0;
    struct span parts[PARTS_MOST];
    enum parse got = read_header(in, '*', &at, &count);
    if (got != PARSE_DONE)
        return got;
    if (count < 2 || count > PARTS_MOST)
        return PARSE_BAD;
    size_t begin = at;
    got = read_bulk(in, &at, &parts[0]);
    if (got != PARSE_DONE)
        return got;
    if (!judge(parts[0], count, out))
        return PARSE_BAD;
    bool number = out->kind == NEWS_ON || out->kind == NEWS_OFF;
    at = begin;
    got = read_parts(in, &at, count, number, parts);
    if (got != PARSE_DONE)
        return got;
    out->name = parts[1];
    out->len = at;
    return PARSE_DONE;
}

static enum parse hear_line(struct span in, struct news *out)
{
    const char *lf = memchr(in.ptr, '\n', in.len < LINE_MOST ? in.len : LINE_MOST);
    if (lf == NULL)
        return in.len < LINE_MOST ? PARSE_MORE : PARSE_BAD;
    out->len = (size_t)(lf - in.ptr) + 1;
    out->name = span_of(in.ptr, out->len);
    if (out->len < 3 || lf[-1] != '\r' || memchr(in.ptr, '\r', out->len - 2) != NULL)
        return PARSE_BAD;
    out->kind = in.ptr[0] == '-' ? NEWS_ERROR : NEWS_PONG;
    return in.ptr[0] == '-' || span_eq(out->name, SPAN("+PONG\r\n")) ? PARSE_DONE : PARSE_BAD;
}

static enum parse hear(struct span in, struct news *out)
{
    *out = (struct news){.kind = NEWS_ERROR};
    if (in.len == 0)
        return PARSE_MORE;
    if (in.ptr[0] == '*')
        return hear_array(in, out);
    return in.ptr[0] == '-' || in.ptr[0] == '+' ? hear_line(in, out) : PARSE_BAD;
}

const struct proto_pubsub redis_pubsub = {
    .ask = ask,
    .ping = ping,
    .hear = hear,
    .everywhere = everywhere,
    .tell = tell,
    .tell_none = tell_none,
    .message = message,
};
