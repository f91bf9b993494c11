/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/usual.h"

#include "proto/memcache/line.h"
#include "proto/memcache/reply.h"
#include "proto/memcache/scan.h"
#include "proto/memcache/verb.h"

/* A line that is being read. */
struct usual {
    const struct verb *verb;
    const char *at;  /* the first byte that was not read */
    const char *end; /* of the input */
    struct span key;
};

/* Hands out a request for one key. */
static enum parse forward(struct usual *u, struct request_parser *p, struct span wire,
                          struct request_view *out)
{
    if (!args_push(p->args, (uint32_t)(u->key.ptr - wire.ptr), (uint32_t)u->key.len))
        return PARSE_BAD;
    out->kind = REQUEST_FORWARD;
    out->len = (uint32_t)wire.len;
    out->write = u->verb->write;
    out->expect = u->verb->expect;
    out->ranges = 1;
    out->keys[0] = (struct key_range){0, 1, 1};
    out->wire = wire;
    return PARSE_DONE;
}

/* Reads a key. What stands behind it is the byte at u->at, and it is no part of a key. */
static bool read_key(struct usual *u)
{
    const char *stop = scan_word(u->at, u->end);
    u->key = (struct span){u->at, (size_t)(stop - u->at)};
    u->at = stop;
    return stop < u->end && u->key.len > 0 && u->key.len <= KEY_MAX;
}

/* Reads a space and a number, behind which there is at least a byte. */
static bool read_number(struct usual *u, uint32_t *out)
{
    if (*u->at != ' ')
        return false;
    const char *stop = scan_number(u->at + 1, u->end, out);
    if (stop != NULL)
        u->at = stop;
    return stop != NULL;
}

static bool read_end(struct usual *u)
{
    if (u->end - u->at < 2 || u->at[0] != '\r' || u->at[1] != '\n')
        return false;
    u->at += 2;
    return true;
}

static enum parse read_get(struct usual *u, struct request_parser *p, bool single_server,
                           struct span in, struct request_view *out)
{
    struct args *args = p->args;
    bool good = args_push(args, 0, u->verb->len);
    do {
        u->at++;
        good = good && read_key(u) &&
               args_push(args, (uint32_t)(u->key.ptr - in.ptr), (uint32_t)u->key.len);
    } while (good && *u->at == ' ');
    if (!good || !read_end(u)) {
        args->count = 0;
        return PARSE_BAD;
    }
    uint32_t keys = args->count - 1;
    out->kind = keys == 1 || single_server ? REQUEST_FORWARD : REQUEST_SPLIT;
    out->len = (uint32_t)(u->at - in.ptr);
    out->write = u->verb->write;
    out->expect = u->verb->expect;
    out->join = JOIN_VALUES;
    out->ranges = 1;
    out->keys[0] = (struct key_range){1, keys, 1};
    out->wire = span_of(in.ptr, out->len);
    return PARSE_DONE;
}

/* Reads a line and the data block behind it. */
static enum parse read_store(struct usual *u, struct request_parser *p, struct span in,
                             struct request_view *out)
{
    uint32_t other;
    uint32_t bytes;
    u->at++;
    if (!read_key(u) || !read_number(u, &other) || !read_number(u, &other) ||
        !read_number(u, &bytes))
        return PARSE_BAD;
    if (u->verb->least == 5 && !read_number(u, &other)) /* cas */
        return PARSE_BAD;
    if (!read_end(u))
        return PARSE_BAD;
    size_t line = (size_t)(u->at - in.ptr);
    size_t total = line + bytes + 2;
    if (total >= REQUEST_MAX)
        return PARSE_BAD;
    if (in.len < total) {
        p->pos = (uint32_t)line;
        p->bulk = bytes;
        return PARSE_MORE;
    }
    if (in.ptr[total - 2] != '\r' || in.ptr[total - 1] != '\n')
        return PARSE_BAD;
    return forward(u, p, span_of(in.ptr, total), out);
}

/* Reads a line of a key and perhaps a number. */
static enum parse read_line(struct usual *u, struct request_parser *p, struct span in, bool number,
                            struct request_view *out)
{
    uint32_t other;
    u->at++;
    if (!read_key(u) || (number && !read_number(u, &other)) || !read_end(u))
        return PARSE_BAD;
    return forward(u, p, span_of(in.ptr, (size_t)(u->at - in.ptr)), out);
}

enum parse usual_request(struct request_parser *p, const struct proto_session *ses, struct span in,
                         struct request_view *out)
{
    if (in.len < SCAN_STEP || in.len >= REQUEST_MAX)
        return PARSE_BAD;
    uint64_t head = scan_load(in.ptr);
    uint64_t low = scan_low(head);
    if (low == 0)
        return PARSE_BAD;
    unsigned len = scan_first(low);
    struct usual u = {.at = in.ptr + len, .end = in.ptr + in.len};
    u.verb = verb_find_short(head & ((UINT64_C(1) << (8 * len)) - 1));
    if (u.verb == NULL || *u.at != ' ')
        return PARSE_BAD;
    switch ((enum shape)u.verb->shape) {
    case SHAPE_KEYS:
        return read_get(&u, p, ses->settings->single_server, in, out);
    case SHAPE_STORE:
        return read_store(&u, p, in, out);
    case SHAPE_DELTA:
    case SHAPE_EXPTIME:
        return read_line(&u, p, in, true, out);
    case SHAPE_KEY:
        return read_line(&u, p, in, false, out);
    default:
        return PARSE_BAD;
    }
}
