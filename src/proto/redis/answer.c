/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/answer.h"

#include <stdint.h>
#include <string.h>

#include "proto/redis/login.h"
#include "proto/redis/number.h"
#include "proto/redis/words.h"

/* A line of text of bounded length; what does not fit is cut. */
struct line {
    char text[640];
    size_t len;
};

static void put(struct line *l, struct span s)
{
    size_t room = sizeof(l->text) - 2 - l->len;
    size_t n = s.len < room ? s.len : room;
    memcpy(l->text + l->len, s.ptr, n);
    l->len += n;
}

/* As printf's `%.*s` does it: ends at a NUL. */
static void put_cut(struct line *l, struct span s, size_t max)
{
    put(l, span_of(s.ptr, strnlen(s.ptr, s.len < max ? s.len : max)));
}

/* Line ends within the line become blanks, as redis does it, else it would be read as two. */
static bool finish(struct line *l, struct request_view *v, struct buf *scratch)
{
    for (size_t i = 0; i < l->len; i++)
        if (l->text[i] == '\r' || l->text[i] == '\n')
            l->text[i] = ' ';
    l->text[l->len++] = '\r';
    l->text[l->len++] = '\n';
    size_t before = buf_len(scratch);
    if (!buf_append(scratch, span_of(l->text, l->len)))
        return false;
    answer_static(v, span_from(buf_span(scratch), before));
    return true;
}

void answer_static(struct request_view *v, struct span text)
{
    v->kind = REQUEST_LOCAL;
    v->reply = text;
    v->ranges = 0;
    v->write = false;
}

bool answer_unknown(struct request_view *v, struct buf *scratch)
{
    enum { SHOWN = 128 };
    struct line l = {.len = 0};
    put(&l, SPAN("-ERR unknown command '"));
    put_cut(&l, word(v, 0), SHOWN);
    put(&l, SPAN("', with args beginning with: "));
    size_t begin = l.len;
    for (uint32_t i = 1; i < v->args->count && l.len - begin < SHOWN; i++) {
        size_t room = SHOWN - (l.len - begin);
        put(&l, SPAN("'"));
        put_cut(&l, word(v, i), room);
        put(&l, SPAN("' "));
    }
    return finish(&l, v, scratch);
}

bool answer_unknown_sub(const struct command *c, struct request_view *v, struct buf *scratch)
{
    struct line l = {.len = 0};
    put(&l, SPAN("-ERR unknown subcommand '"));
    put_cut(&l, word(v, 1), 128);
    put(&l, SPAN("'. Try "));
    size_t begin = l.len;
    put(&l, span_str(c->name));
    for (size_t i = begin; i < l.len; i++)
        if (l.text[i] >= 'a' && l.text[i] <= 'z')
            l.text[i] = (char)(l.text[i] - ('a' - 'A'));
    put(&l, SPAN(" HELP."));
    return finish(&l, v, scratch);
}

/* `before`, the name of the command, `behind`. */
static bool answer_named(const struct command *c, struct span before, struct span behind,
                         struct request_view *v, struct buf *scratch)
{
    struct line l = {.len = 0};
    put(&l, before);
    put(&l, span_str(c->name));
    put(&l, behind);
    return finish(&l, v, scratch);
}

bool answer_arity(const struct command *c, struct request_view *v, struct buf *scratch)
{
    return answer_named(c, SPAN("-ERR wrong number of arguments for '"), SPAN("' command"), v,
                        scratch);
}

bool answer_refused(const struct command *c, struct request_view *v, struct buf *scratch)
{
    return answer_named(c, SPAN("-ERR command '"), SPAN("' is not supported by this proxy"), v,
                        scratch);
}

bool answer_not_inside(const struct command *c, struct request_view *v, struct buf *scratch)
{
    return answer_named(c, SPAN("-ERR command '"),
                        SPAN("' can't be a part of a transaction behind this proxy"), v, scratch);
}

bool answer_denied(const struct command *c, struct request_view *v, struct buf *scratch)
{
    return answer_named(c, SPAN("-NOPERM command '"),
                        SPAN("' is denied by this proxy (the pool's key `commands`)"), v, scratch);
}

bool answer_closed(const struct command *c, struct span key, struct request_view *v,
                   struct buf *scratch)
{
    struct line l = {.len = 0};
    put(&l, SPAN("-ERR command '"));
    put(&l, span_str(c->name));
    put(&l, SPAN("' is not allowed by this proxy (the pool's key "));
    put(&l, key);
    put(&l, SPAN(" can allow it)"));
    return finish(&l, v, scratch);
}

bool answer_only_pubsub(const struct command *c, struct request_view *v, struct buf *scratch)
{
    struct line l = {.len = 0};
    put(&l, SPAN("-ERR Can't execute '"));
    put(&l, span_str(c->name));
    put(&l, SPAN("': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in "
                 "this context"));
    return finish(&l, v, scratch);
}

bool answer_single(const struct command *c, struct request_view *v, struct buf *scratch)
{
    struct line l = {.len = 0};
    put(&l, SPAN("-ERR command '"));
    put(&l, span_str(c->name));
    put(&l, SPAN("' needs a pool with one server, or it would be about the keys of one of them "
                 "(the pool's "
                 "key `commands` can say where its keys are)"));
    return finish(&l, v, scratch);
}

/* Argument `i` as a bulk string: as it stands in the message, which is in canonical form. */
static void answer_word(struct request_view *v, uint32_t i)
{
    struct arg a = v->args->v[i];
    size_t header = number_digits(a.len) + 3;
    answer_static(v, span_of(v->base + a.off - header, header + a.len + 2));
}

bool answer_local(const struct command *c, struct proto_session *ses, struct request_view *v,
                  struct buf *scratch)
{
    switch (c->class) {
    case CLASS_PING:
        if (v->args->count > 2)
            return answer_arity(c, v, scratch);
        if (v->args->count == 2)
            answer_word(v, 1);
        else
            answer_static(v, SPAN("+PONG\r\n"));
        return true;
    case CLASS_ECHO:
        answer_word(v, 1);
        return true;
    case CLASS_QUIT:
        v->close = true;
        answer_static(v, SPAN("+OK\r\n"));
        return true;
    case CLASS_SELECT:
        login_select(ses, v);
        return true;
    case CLASS_AUTH:
        login_auth(ses, v);
        return true;
    case CLASS_HELLO:
        return login_hello(ses, v, scratch);
    case CLASS_RESET:
        login_reset(ses, v);
        return true;
    case CLASS_ROLE:
        answer_static(v, SPAN("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"));
        return true;
    case CLASS_NO_CLUSTER:
        answer_static(v, SPAN("-ERR This instance has cluster support disabled\r\n"));
        return true;
    default:
        never("a class that is answered here");
    }
}
