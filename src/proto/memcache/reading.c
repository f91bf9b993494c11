/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/reading.h"

void reading_begin(struct request_view *v, const char *base, const struct args *args)
{
    request_view_clear(v);
    v->base = base;
    v->args = args;
}

enum parse reading_answer(struct reading *r, struct span reply, bool quiet)
{
    r->out->kind = quiet ? REQUEST_NONE : REQUEST_LOCAL;
    r->out->len = r->line.len;
    r->out->reply = reply;
    return PARSE_DONE;
}

enum parse reading_bad(struct request_view *out, struct span reply)
{
    out->reply = reply;
    return PARSE_BAD;
}

enum parse reading_wait(struct reading *r, int32_t bytes)
{
    r->p->pos = r->line.len;
    r->p->bulk = (uint32_t)bytes;
    return PARSE_MORE;
}

bool reading_is_tight(const struct reading *r)
{
    const struct words *w = &r->words;
    size_t len = w->count - 1;
    for (uint32_t i = 0; i < w->count; i++)
        len += w->v[i].len;
    return r->line.strict && len == r->line.text.len;
}

void put_number(struct buf *b, uint64_t n, bool negative)
{
    char text[NUMBER_MAX + 1];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    if (negative)
        text[--at] = '-';
    put(b, SPAN(" "));
    put(b, span_of(text + at, sizeof(text) - at));
}

void put_i32(struct buf *b, int32_t n)
{
    put_number(b, n < 0 ? (uint64_t) - (int64_t)n : (uint64_t)n, n < 0);
}
