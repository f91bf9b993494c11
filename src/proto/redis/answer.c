/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/answer.h"

#include <stdint.h>
#include <string.h>

#include "proto/redis/number.h"

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

static void put_number(struct line *l, uint64_t n)
{
    char digits[NUMBER_MAX];
    put(l, span_of(digits, number_write(digits, n)));
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

static struct span word(const struct request_view *v, uint32_t i)
{
    return args_span(v->args, v->base, i);
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

bool answer_arity(const struct command *c, struct request_view *v, struct buf *scratch)
{
    struct line l = {.len = 0};
    put(&l, SPAN("-ERR wrong number of arguments for '"));
    put(&l, span_str(c->name));
    put(&l, SPAN("' command"));
    return finish(&l, v, scratch);
}

bool answer_refused(const struct command *c, struct request_view *v, struct buf *scratch)
{
    struct line l = {.len = 0};
    put(&l, SPAN("-ERR command '"));
    put(&l, span_str(c->name));
    put(&l, SPAN("' is not supported by this proxy"));
    return finish(&l, v, scratch);
}

/* Argument `i` as a bulk string: as it stands in the message, which is in canonical form. */
static void answer_word(struct request_view *v, uint32_t i)
{
    struct arg a = v->args->v[i];
    size_t header = number_digits(a.len) + 3;
    answer_static(v, span_of(v->base + a.off - header, header + a.len + 2));
}

/* Takes the same time wherever the first difference is. */
static bool same_secret(struct span given, struct span secret)
{
    unsigned char differ = given.len != secret.len;
    for (size_t i = 0; i < given.len; i++)
        differ |= (unsigned char)(given.ptr[i] ^ secret.ptr[i % secret.len]);
    return differ == 0;
}

static void answer_auth(struct proto_session *ses, struct request_view *v)
{
    uint32_t count = v->args->count;
    struct span password = ses->settings->password;
    if (count > 3) {
        answer_static(v, SPAN("-ERR syntax error\r\n"));
    } else if (count == 3 && !span_eq(word(v, 1), SPAN("default"))) {
        answer_static(v,
                      SPAN("-WRONGPASS invalid username-password pair or user is disabled.\r\n"));
    } else if (password.len == 0) {
        answer_static(v, SPAN("-ERR Client sent AUTH, but no password is set\r\n"));
    } else {
        ses->authed = same_secret(word(v, count - 1), password);
        answer_static(v, ses->authed ? SPAN("+OK\r\n") : SPAN("-ERR invalid password\r\n"));
    }
}

static bool answer_select(const struct proto_session *ses, struct request_view *v,
                          struct buf *scratch)
{
    int64_t db = 0;
    struct line l = {.len = 0};
    if (!number_read(word(v, 1), &db) || db < INT32_MIN || db > INT32_MAX) {
        answer_static(v, SPAN("-ERR value is not an integer or out of range\r\n"));
        return true;
    }
    if (db == ses->settings->db) {
        answer_static(v, SPAN("+OK\r\n"));
        return true;
    }
    put(&l, SPAN("-ERR DB index is out of range (this pool is on db "));
    put_number(&l, ses->settings->db);
    put(&l, SPAN(", no other can be selected)"));
    return finish(&l, v, scratch);
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
        return answer_select(ses, v, scratch);
    case CLASS_AUTH:
        answer_auth(ses, v);
        return true;
    default:
        never("a class that is answered here");
    }
}
