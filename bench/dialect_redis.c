/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit dialect_redis is how the load generator speaks with redis: GET, SET and MGET in RESP2. */
#include "answer.h"

#include <stdio.h>

static void head(struct buf *out, const char *format, size_t number)
{
    char text[64];
    int n = snprintf(text, sizeof(text), format, number);
    must(buf_append(out, span_of(text, (size_t)n)));
}

static void key(const struct payload *p, const struct ask *a, uint32_t i, struct buf *out)
{
    must(buf_append(out, SPAN("$12\r\n")));
    payload_key(out, ask_key(p, a, i));
    must(buf_append(out, SPAN("\r\n")));
}

static void compose(const struct payload *p, const struct ask *a, struct buf *out)
{
    if (a->set) {
        must(buf_append(out, SPAN("*3\r\n$3\r\nSET\r\n")));
        key(p, a, 0, out);
        head(out, "$%zu\r\n", p->size);
        payload_value(p, out, a->first);
        must(buf_append(out, SPAN("\r\n")));
        return;
    }
    if (a->count == 1)
        must(buf_append(out, SPAN("*2\r\n$3\r\nGET\r\n")));
    else
        head(out, "*%zu\r\n$4\r\nMGET\r\n", (size_t)a->count + 1);
    for (uint32_t i = 0; i < a->count; i++)
        key(p, a, i, out);
}

/* One value of the reply, or what stands for it, begins. */
static void begin_value(struct answer *s, const struct payload *p, const struct ask *a)
{
    s->key = ask_key(p, a, s->values);
    s->values++;
    s->more = s->values < a->count;
}

static enum answer_line no_value(struct answer *s, const struct payload *p, const struct ask *a,
                                 const char *why)
{
    answer_wrong(s, why);
    begin_value(s, p, a);
    return s->array && s->more ? ANSWER_LINE_NEXT : ANSWER_LINE_END;
}

static enum answer_line bulk(struct answer *s, const struct payload *p, const struct ask *a,
                             struct span length)
{
    if (span_eq(length, SPAN("-1")))
        return no_value(s, p, a, "a miss");
    if (!span_u64(length, UINT32_MAX, &s->body))
        return ANSWER_LINE_BROKEN;
    begin_value(s, p, a);
    if (s->body != p->size)
        answer_wrong(s, "a value of another length");
    return ANSWER_LINE_VALUE;
}

static enum answer_line array(struct answer *s, const struct ask *a, struct span length)
{
    uint64_t count = 0;
    if (s->array || a->count == 1 || !span_u64(length, ASK_KEYS_MAX, &count) || count != a->count)
        return ANSWER_LINE_BROKEN;
    s->array = true;
    return ANSWER_LINE_NEXT;
}

static enum answer_line line(struct answer *s, const struct payload *p, const struct ask *a,
                             struct span text)
{
    if (text.len > 0 && text.ptr[0] == '-')
        return no_value(s, p, a, "an error reply");
    if (a->set) {
        if (!span_eq(text, SPAN("+OK")))
            return ANSWER_LINE_BROKEN;
        return ANSWER_LINE_END;
    }
    if (text.len > 0 && text.ptr[0] == '*')
        return array(s, a, span_from(text, 1));
    if (text.len > 0 && text.ptr[0] == '$' && s->array == (a->count > 1))
        return bulk(s, p, a, span_from(text, 1));
    return ANSWER_LINE_BROKEN;
}

const struct dialect dialect_redis = {.name = "redis", .compose = compose, .line = line};
