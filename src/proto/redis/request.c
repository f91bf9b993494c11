/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/request.h"

#include <limits.h>
#include <string.h>

#include "base/word.h"
#include "proto/redis/classify.h"
#include "proto/redis/header.h"
#include "proto/redis/inline.h"
#include "proto/redis/number.h"

enum {
    LINE_MAX_BYTES = 64 * 1024,   /* before the end of a line must have come */
    BULK_MAX = 512 * 1024 * 1024, /* bytes of one argument */
    GUEST_ARGS = 10,              /* what a client may send before it has given the password */
    GUEST_BULK = 16384,
    SCRATCH_KEEP = 1 << 20, /* memory that scratch may hold between requests */
};

/* request_parser.state: where it stands, and a mark. */
enum {
    AT_START,
    AT_COUNT,
    AT_LENGTH,
    AT_BODY,
    AT_LINE,
    STANDS = 0x7f,
    /* A line end was not CR LF. Redis reads over that, other servers may not: such a request goes
       on in canonical form. */
    LENIENT = 0x80,
};

static enum parse bad(struct request_view *out, struct span reply)
{
    out->kind = REQUEST_LOCAL;
    out->close = true;
    out->reply = reply;
    return PARSE_BAD;
}

#define PROTOCOL_ERROR(text) SPAN("-ERR Protocol error: " text "\r\n")

static enum parse no_memory(struct request_view *out)
{
    return bad(out, SPAN("-ERR out of memory\r\n"));
}

static void scratch_clear(struct buf *scratch)
{
    buf_clear(scratch);
    if (scratch->cap > SCRATCH_KEEP)
        buf_free(scratch);
}

/* A line of any kind from p->pos on, up to `stop`, for which redis looks with strchr(): a NUL hides
 * what is behind it. PARSE_DONE: p->scan is the offset of `stop` from pos. PARSE_BAD: it is too
 * long. */
static enum parse find_stop(struct request_parser *p, struct span in, char stop)
{
    struct span line = span_from(in, p->pos);
    size_t most = line.len < LINE_MAX_BYTES + 1 ? line.len : LINE_MAX_BYTES + 1;
    uint32_t i = p->scan;
    while (i < most && line.ptr[i] != stop && line.ptr[i] != '\0')
        i++;
    p->scan = i;
    if (i < most && line.ptr[i] == stop)
        return PARSE_DONE;
    return line.len > LINE_MAX_BYTES ? PARSE_BAD : PARSE_MORE;
}

/* A header line, however it came. PARSE_DONE: `*line` is what stands before its CR, and it is taken
 * from the message. */
static enum parse take_header(struct request_parser *p, struct span in, struct span *line)
{
    enum parse found = find_stop(p, in, '\r');
    if (found != PARSE_DONE)
        return found;
    if (in.len - p->pos < p->scan + (size_t)2)
        return PARSE_MORE;
    *line = span_of(in.ptr + p->pos, p->scan);
    p->pos += p->scan + 2;
    p->scan = 0;
    if (line->ptr[line->len + 1] != '\n')
        p->state |= LENIENT;
    return PARSE_DONE;
}

/* The number of arguments. PARSE_DONE with p->left 0: there is nothing to do. */
static enum parse take_count(struct request_parser *p, const struct proto_session *ses,
                             struct span in, struct request_view *out)
{
    size_t header = in.len < 8 ? 0 : header_read(word_load(in.ptr), '*', &p->left);
    p->pos += (uint32_t)header;
    if (header > 0) {
        p->scan = 0;
    } else {
        struct span line = SPAN("");
        int64_t n = 0;
        enum parse got = take_header(p, in, &line);
        if (got == PARSE_BAD)
            return bad(out, PROTOCOL_ERROR("too big mbulk count string"));
        if (got == PARSE_MORE)
            return got;
        if (!number_read(span_from(line, 1), &n) || n > INT_MAX)
            return bad(out, PROTOCOL_ERROR("invalid multibulk length"));
        p->left = n > 0 ? (uint32_t)n : 0;
    }
    if (p->left > GUEST_ARGS && session_is_guest(ses))
        return bad(out, PROTOCOL_ERROR("unauthenticated multibulk length"));
    return PARSE_DONE;
}

/* The answer to an argument that does not begin with '$'. */
static enum parse bad_mark(struct request_view *out, struct buf *scratch, char got)
{
    char shown = (got == '\r' || got == '\n') ? ' ' : got;
    scratch_clear(scratch);
    if (!buf_append(scratch, SPAN("-ERR Protocol error: expected '$', got '")) ||
        !buf_append(scratch, span_of(&shown, 1)) || !buf_append(scratch, SPAN("'\r\n")))
        return no_memory(out);
    return bad(out, buf_span(scratch));
}

/* The length of an argument, into p->bulk. */
static enum parse take_length(struct request_parser *p, const struct proto_session *ses,
                              struct span in, struct buf *scratch, struct request_view *out)
{
    struct span line = SPAN("");
    int64_t n = 0;
    enum parse got = take_header(p, in, &line);
    if (got == PARSE_BAD)
        return bad(out, PROTOCOL_ERROR("too big bulk count string"));
    if (got == PARSE_MORE)
        return got;
    /* An empty line too has a byte: the CR that ended it. */
    if (line.ptr[0] != '$')
        return bad_mark(out, scratch, line.ptr[0]);
    if (!number_read(span_from(line, 1), &n) || n < 0 || n > BULK_MAX)
        return bad(out, PROTOCOL_ERROR("invalid bulk length"));
    if (n > GUEST_BULK && session_is_guest(ses))
        return bad(out, PROTOCOL_ERROR("unauthenticated bulk length"));
    if ((size_t)p->pos + (size_t)n + 2 >= REQUEST_MAX)
        return bad(out, PROTOCOL_ERROR("too big request, it must be shorter than 1 GiB"));
    p->bulk = (uint32_t)n;
    return PARSE_DONE;
}

/* An argument with a byte in it is at least as long as the longest header that is read at once. */
enum { SHORTEST_ARG = HEADER_MOST };

/* The word whose first byte is that of the argument at `at`, at least SHORTEST_ARG bytes before the
 * end. It is loaded from the byte before on, which there is: so no byte behind the end is read. */
static inline uint64_t arg_word(struct span in, size_t at)
{
    return word_load(in.ptr + at - 1) >> 8;
}

/* Takes the argument at `at`, whose header has been read, if it is whole. Returns its bytes, or 0. */
static inline size_t quick_arg(struct request_parser *p, struct span in, size_t at, uint32_t header,
                               uint32_t bulk)
{
    size_t whole = (size_t)header + bulk + 2;
    if (in.len - at < whole || memcmp(in.ptr + at + whole - 2, "\r\n", 2) != 0)
        return 0;
    /* When memory is out it is out in take_args() too, which says so. */
    return args_push(p->args, (uint32_t)at + header, bulk) ? whole : 0;
}

/* Takes the first of many arguments, up to one that is not short or not whole. */
static size_t many_args(struct request_parser *p, struct span in, size_t at, uint32_t *left)
{
    struct header h = HEADER_NONE;
    for (; *left > 0 && in.len - at >= SHORTEST_ARG; --*left) {
        size_t took = 0;
        if (header_next(&h, arg_word(in, at), '$'))
            took = quick_arg(p, in, at, h.len, h.value);
        if (took == 0)
            break;
        at += took;
    }
    return at;
}

/* Takes the arguments that are short, whole and written as every client writes them, up to the
 * first other one. */
static void quick_args(struct request_parser *p, struct span in)
{
    enum { FEW = 4 };
    uint32_t left = p->left;
    size_t at = left > FEW ? many_args(p, in, p->pos, &left) : p->pos;
    for (; left > 0 && in.len - at >= SHORTEST_ARG; left--) {
        uint32_t bulk = 0;
        uint32_t header = header_read(arg_word(in, at), '$', &bulk);
        size_t took = header > 0 ? quick_arg(p, in, at, header, bulk) : 0;
        if (took == 0)
            break;
        at += took;
    }
    if (left < p->left)
        p->scan = 0;
    p->pos = (uint32_t)at;
    p->left = left;
}

/* A request begins mostly with two headers of one digit and the command's name: these are read at once.
 * False if it does not: nothing was taken then. */
static inline bool quick_start(struct request_parser *p, struct span in)
{
    const char *shape = "*\0\r\n$\0\r\n";
    const char *digits = "\0\xff\0\0\0\xff\0\0";
    enum { HEADERS = 8 };
    if (in.len < HEADERS)
        return false;
    uint64_t word = word_load(in.ptr);
    uint32_t words = (uint32_t)(word >> 8 & 0xff) - '0';
    uint32_t name = (uint32_t)(word >> 40 & 0xff) - '0';
    if ((word & ~word_load(digits)) != word_load(shape) || words - 1 > 8 || name - 1 > 8 ||
        in.len - HEADERS < name + (size_t)2 || memcmp(in.ptr + HEADERS + name, "\r\n", 2) != 0 ||
        !args_push(p->args, HEADERS, name))
        return false;
    p->pos = HEADERS + name + 2;
    p->left = words - 1;
    return true;
}

/* The arguments, p->left of them. */
static enum parse take_args(struct request_parser *p, const struct proto_session *ses,
                            struct span in, struct buf *scratch, struct request_view *out)
{
    for (; p->left > 0; p->left--) {
        if ((p->state & STANDS) == AT_LENGTH) {
            enum parse got = take_length(p, ses, in, scratch, out);
            if (got != PARSE_DONE)
                return got;
        }
        const char *body = in.ptr + p->pos;
        if (in.len - p->pos < (size_t)p->bulk + 2) {
            p->state = (uint8_t)((p->state & LENIENT) | AT_BODY);
            return PARSE_MORE;
        }
        if (body[p->bulk] != '\r' || body[p->bulk + 1] != '\n')
            p->state |= LENIENT;
        if (!args_push(p->args, p->pos, p->bulk))
            return no_memory(out);
        p->pos += p->bulk + 2;
        p->state = (uint8_t)((p->state & LENIENT) | AT_LENGTH);
    }
    return PARSE_DONE;
}

/* Writes the request anew, each line ended with CR LF. Every byte keeps its place. */
static bool canonical(const struct request_parser *p, struct span in, struct buf *scratch)
{
    if (!buf_append(scratch, span_of(in.ptr, p->pos)))
        return false;
    char *copy = scratch->data + scratch->head;
    const struct arg *first = &p->args->v[0];
    memcpy(copy + first->off - number_digits(first->len) - 5, "\r\n", 2);
    for (const struct arg *a = first; a < first + p->args->count; a++) {
        memcpy(copy + a->off - 2, "\r\n", 2);
        memcpy(copy + a->off + a->len, "\r\n", 2);
    }
    return true;
}

/* The request is whole: its bytes are `wire`. */
static enum parse recognise(struct request_parser *p, struct proto_session *ses, struct span wire,
                            struct buf *scratch, struct request_view *out)
{
    out->base = wire.ptr;
    out->wire = wire;
    out->args = p->args;
    return classify(ses, out, scratch) ? PARSE_DONE : no_memory(out);
}

/* The same for a request that stands in scratch, which moves when an answer is put behind it. */
static enum parse recognise_scratch(struct request_parser *p, struct proto_session *ses,
                                    struct buf *scratch, struct request_view *out)
{
    enum parse got = recognise(p, ses, buf_span(scratch), scratch, out);
    /* What is sent may have been chosen anew. */
    bool whole = out->wire.ptr == out->base;
    out->base = buf_span(scratch).ptr;
    out->wire.ptr = whole ? out->base : out->wire.ptr;
    return got;
}

static enum parse parse_line(struct request_parser *p, struct proto_session *ses, struct span in,
                             struct buf *scratch, struct request_view *out)
{
    enum parse found = find_stop(p, in, '\n');
    if (found == PARSE_BAD)
        return bad(out, PROTOCOL_ERROR("too big inline request"));
    if (found == PARSE_MORE)
        return found;
    struct span line = span_of(in.ptr, p->scan);
    out->len = p->scan + 1;
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    scratch_clear(scratch);
    enum inline_result got = inline_convert(line, scratch, p->args);
    if (got == INLINE_UNBALANCED)
        return bad(out, PROTOCOL_ERROR("unbalanced quotes in request"));
    if (got == INLINE_NO_MEMORY)
        return no_memory(out);
    if (p->args->count == 0)
        return PARSE_DONE;
    return recognise_scratch(p, ses, scratch, out);
}

static enum parse parse_array(struct request_parser *p, struct proto_session *ses, struct span in,
                              struct buf *scratch, struct request_view *out)
{
    if ((p->state & STANDS) == AT_COUNT) {
        bool quick = p->scan == 0 && quick_start(p, in);
        enum parse got = quick ? PARSE_DONE : take_count(p, ses, in, out);
        if (got != PARSE_DONE)
            return got;
        p->state = (uint8_t)((p->state & LENIENT) | AT_LENGTH);
    }
    if (p->state == AT_LENGTH && in.len < REQUEST_MAX)
        quick_args(p, in);
    enum parse got = p->left == 0 ? PARSE_DONE : take_args(p, ses, in, scratch, out);
    if (got != PARSE_DONE)
        return got;
    out->len = p->pos;
    if (p->args->count == 0)
        return PARSE_DONE;
    scratch_clear(scratch);
    if ((p->state & LENIENT) == 0)
        return recognise(p, ses, span_of(in.ptr, p->pos), scratch, out);
    if (!canonical(p, in, scratch))
        return no_memory(out);
    return recognise_scratch(p, ses, scratch, out);
}

enum parse redis_request_parse(struct request_parser *p, struct proto_session *ses, struct span in,
                               struct buf *scratch, struct request_view *out)
{
    request_view_clear(out);
    if (in.len == 0)
        return PARSE_MORE;
    if (p->state == AT_START)
        p->state = in.ptr[0] == '*' ? AT_COUNT : AT_LINE;
    if ((p->state & STANDS) == AT_LINE)
        return parse_line(p, ses, in, scratch, out);
    return parse_array(p, ses, in, scratch, out);
}
