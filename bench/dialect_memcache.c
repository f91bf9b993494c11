/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit dialect_memcache is how the load generator speaks with memcached: get of one or many keys
 * and set, in the text protocol. The values of a get may come in any order, each once. */
#include "answer.h"

#include <stdio.h>

static void compose(const struct payload *p, const struct ask *a, struct buf *out)
{
    if (a->set) {
        char text[64];
        must(buf_append(out, SPAN("set ")));
        payload_key(out, a->first);
        int n = snprintf(text, sizeof(text), " 0 0 %zu\r\n", p->size);
        must(buf_append(out, span_of(text, (size_t)n)));
        payload_value(p, out, a->first);
    } else {
        must(buf_append(out, SPAN("get")));
        for (uint32_t i = 0; i < a->count; i++) {
            must(buf_append(out, SPAN(" ")));
            payload_key(out, ask_key(p, a, i));
        }
    }
    must(buf_append(out, SPAN("\r\n")));
}

static bool begins(struct span text, struct span with)
{
    return text.len >= with.len && span_eq(span_of(text.ptr, with.len), with);
}

static bool is_error(struct span text)
{
    return begins(text, SPAN("SERVER_ERROR")) || begins(text, SPAN("CLIENT_ERROR")) ||
           begins(text, SPAN("ERROR"));
}

/* Was this key asked for, and not answered yet? */
static bool expected(struct answer *s, const struct payload *p, const struct ask *a)
{
    uint32_t i = (s->key + p->keys - a->first) % p->keys;
    if (s->key >= p->keys || i >= a->count || (s->seen[i / 64] >> (i % 64) & 1) != 0)
        return false;
    s->seen[i / 64] |= UINT64_C(1) << (i % 64);
    return true;
}

/* "VALUE key:00000001 0 64" */
static enum answer_line value(struct answer *s, const struct payload *p, const struct ask *a,
                              struct span text)
{
    struct span flags = SPAN(" 0 ");
    size_t fixed = 6 + PAYLOAD_KEY + flags.len;
    if (text.len < fixed || !payload_number(span_of(text.ptr + 6, PAYLOAD_KEY), &s->key) ||
        !span_eq(span_of(text.ptr + 6 + PAYLOAD_KEY, flags.len), flags) ||
        !span_u64(span_from(text, fixed), UINT32_MAX, &s->body))
        return ANSWER_LINE_BROKEN;
    if (!expected(s, p, a))
        answer_wrong(s, "a key that was not asked for");
    if (s->body != p->size)
        answer_wrong(s, "a value of another length");
    s->values++;
    s->more = true;
    return ANSWER_LINE_VALUE;
}

static enum answer_line line(struct answer *s, const struct payload *p, const struct ask *a,
                             struct span text)
{
    if (is_error(text)) {
        answer_wrong(s, "an error reply");
        return ANSWER_LINE_END;
    }
    if (a->set)
        return span_eq(text, SPAN("STORED")) ? ANSWER_LINE_END : ANSWER_LINE_BROKEN;
    if (begins(text, SPAN("VALUE ")))
        return value(s, p, a, text);
    if (!span_eq(text, SPAN("END")))
        return ANSWER_LINE_BROKEN;
    if (s->values != a->count)
        answer_wrong(s, "a miss");
    return ANSWER_LINE_END;
}

const struct dialect dialect_memcache = {.name = "memcache", .compose = compose, .line = line};
