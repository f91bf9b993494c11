/* SPDX-License-Identifier: BSD-3-Clause */
#include "answer.h"

#include <string.h>

enum { IN_LINE, IN_VALUE };

static enum answer_state after_line(struct answer *s, enum answer_line line)
{
    switch (line) {
    case ANSWER_LINE_NEXT:
        return ANSWER_MORE;
    case ANSWER_LINE_VALUE:
        s->state = IN_VALUE;
        s->at = 0;
        s->line_end = 0;
        return ANSWER_MORE;
    case ANSWER_LINE_END:
        return ANSWER_DONE;
    case ANSWER_LINE_BROKEN:
        break;
    }
    answer_wrong(s, "a line that can't stand here");
    return ANSWER_BROKEN;
}

/* Puts a line together that came in pieces. False if it is too long. */
static bool hold_line(struct answer *s, struct span piece)
{
    if (piece.len > sizeof(s->line) - s->held)
        return false;
    memcpy(s->line + s->held, piece.ptr, piece.len);
    s->held += (uint32_t)piece.len;
    return true;
}

static enum answer_state check_line(struct answer *s, const struct dialect *d,
                                    const struct payload *p, const struct ask *a, struct span in,
                                    size_t *used)
{
    size_t look = in.len < ANSWER_LINE ? in.len : ANSWER_LINE;
    const char *end = memchr(in.ptr, '\n', look);
    *used = end == NULL ? look : (size_t)(end - in.ptr) + 1;
    struct span line = span_of(in.ptr, *used);
    if (end == NULL || s->held > 0) {
        if (!hold_line(s, line)) {
            answer_wrong(s, "an endless line");
            return ANSWER_BROKEN;
        }
        if (end == NULL)
            return ANSWER_MORE;
        line = span_of(s->line, s->held);
        s->held = 0;
    }
    if (line.len < 2 || line.ptr[line.len - 2] != '\r') {
        answer_wrong(s, "a line without its end");
        return ANSWER_BROKEN;
    }
    line.len -= 2;
    return after_line(s, d->line(s, p, a, line));
}

static enum answer_state check_value(struct answer *s, const struct payload *p, struct span in,
                                     size_t *used)
{
    if (s->body > 0) {
        size_t n = s->body < in.len ? (size_t)s->body : in.len;
        if (!payload_matches(p, s->key, s->at, span_of(in.ptr, n)))
            answer_wrong(s, "a value that is not the key's");
        s->at += n;
        s->body -= n;
        *used = n;
        return ANSWER_MORE;
    }
    *used = 1;
    if (in.ptr[0] != "\r\n"[s->line_end]) {
        answer_wrong(s, "a value without a line end");
        return ANSWER_BROKEN;
    }
    if (++s->line_end < 2)
        return ANSWER_MORE;
    s->state = IN_LINE;
    return s->more ? ANSWER_MORE : ANSWER_DONE;
}

enum answer_state answer_check(struct answer *s, const struct dialect *d, const struct payload *p,
                               const struct ask *a, struct span in, size_t *used)
{
    enum answer_state state = ANSWER_MORE;
    *used = 0;
    while (state == ANSWER_MORE && *used < in.len) {
        struct span rest = span_from(in, *used);
        size_t n = 0;
        state =
            s->state == IN_LINE ? check_line(s, d, p, a, rest, &n) : check_value(s, p, rest, &n);
        *used += n;
    }
    return state;
}
