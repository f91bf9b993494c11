/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/reply.h"

#include <stdlib.h>
#include <string.h>

#include "base/hint.h"
#include "base/must.h"
#include "base/word.h"
#include "proto/redis/header.h"

/* reply_parser.state. */
enum { AT_TYPE, IN_TEXT, TEXT_END, IN_NUMBER, NUMBER_END, IN_BODY };

/* What a step came to. */
enum step {
    STEP_ON,      /* the element goes on */
    STEP_ELEMENT, /* an element that holds no other is whole */
    STEP_BAD,
};

/* Longer bodies do not fit any machine; the bound keeps the arithmetic safe. */
#define BODY_MAX ((uint64_t)1 << 48)
/* A number's digits fit 64 bits, and there is room for no more. */
enum { DIGITS_MAX = 19, STACK_FIRST = 64 };

static uint32_t *level(struct reply_parser *p, uint32_t depth)
{
    if (depth < ARRAY_LEN(p->counts))
        return &p->counts[depth];
    return (uint32_t *)p->stack + (depth - ARRAY_LEN(p->counts));
}

/* Room for the level number p->depth. The stack's capacity follows from the level: it grows when
 * that is a power of two. */
static bool level_reserve(struct reply_parser *p)
{
    if (p->depth < ARRAY_LEN(p->counts))
        return true;
    size_t at = p->depth - ARRAY_LEN(p->counts);
    if (at > 0 && (at < STACK_FIRST || (at & (at - 1)) != 0))
        return true;
    size_t cap = at < STACK_FIRST ? STACK_FIRST : at * 2;
    void *stack = realloc(p->stack, cap * sizeof(uint32_t));
    if (stack == NULL)
        return false;
    p->stack = stack;
    return true;
}

/* An array of `count` (over 0) elements begins. */
static enum step open_array(struct reply_parser *p, uint32_t count)
{
    /* The last element of an array ends it as well, so that its count is needed no more. */
    if (p->depth > 0 && *level(p, p->depth - 1) == 1)
        p->depth--;
    if (p->depth >= REPLY_DEPTH || !level_reserve(p))
        return STEP_BAD;
    *level(p, p->depth++) = count;
    p->state = AT_TYPE;
    return STEP_ON;
}

/* Counts an element that is whole, and the arrays that it ends. True when the reply is whole. */
static bool close_element(struct reply_parser *p)
{
    p->state = AT_TYPE;
    while (p->depth > 0 && --*level(p, p->depth - 1) == 0)
        p->depth--;
    return p->depth == 0;
}

/* The types that RESP3 adds. A push is none of them: it answers nothing, and nobody asked for one. */
static enum step take_type3(struct reply_parser *p, char c)
{
    switch (c) {
    case '_':
        p->left = 2; /* a body of no bytes */
        p->state = IN_BODY;
        return STEP_ON;
    case '#':
    case ',':
    case '(':
        p->state = IN_TEXT;
        return STEP_ON;
    case '!':
        p->error = p->error || p->depth == 0;
        p->state = IN_NUMBER;
        return STEP_ON;
    case '=':
    case '%':
    case '~':
    case '|':
        p->state = IN_NUMBER;
        return STEP_ON;
    default:
        return STEP_BAD;
    }
}

static enum step take_type(struct reply_parser *p, uint8_t expect, char c)
{
    p->type = (uint8_t)c;
    p->number = 0;
    p->negative = false;
    p->matched = 0;
    p->left = 0;
    if (p->depth == 0)
        p->error = c == '-';
    if (c == '+' || c == '-')
        p->state = IN_TEXT;
    else if (c == ':' || c == '$' || c == '*')
        p->state = IN_NUMBER;
    else
        return (expect & REPLY_RESP3) != 0 ? take_type3(p, c) : STEP_BAD;
    return STEP_ON;
}

static enum step take_text(struct reply_parser *p, const char **at, const char *end)
{
    const char *cr = memchr(*at, '\r', (size_t)(end - *at));
    const char *stop = cr == NULL ? end : cr;
    if (memchr(*at, '\n', (size_t)(stop - *at)) != NULL)
        return STEP_BAD;
    *at = stop;
    if (cr != NULL) {
        (*at)++;
        p->state = TEXT_END;
    }
    return STEP_ON;
}

/* One byte of a number. A length is written in one way only; an integer may have what the
 * protocol's text allows. */
static enum step take_digit(struct reply_parser *p, char c)
{
    bool first = p->matched == 0 && p->left == 0;
    if (c >= '0' && c <= '9') {
        if (p->matched == DIGITS_MAX || (p->matched == 1 && p->number == 0 && p->type != ':'))
            return STEP_BAD;
        p->number = p->number * 10 + (uint64_t)(c - '0');
        p->matched++;
        return STEP_ON;
    }
    if (first && (c == '-' || (c == '+' && p->type == ':'))) {
        p->negative = c == '-';
        p->left = 1; /* the sign was seen */
        return STEP_ON;
    }
    if (c != '\r' || p->matched == 0)
        return STEP_BAD;
    p->left = 0;
    p->state = NUMBER_END;
    return STEP_ON;
}

/* Pairs that describe the element behind them stand before it and are none themselves: so many more
 * elements come before what they are in is whole. */
static enum step open_attribute(struct reply_parser *p)
{
    uint64_t more = p->number * 2;
    if (p->depth == 0)
        return more < UINT32_MAX ? open_array(p, (uint32_t)more + 1) : STEP_BAD;
    uint32_t *count = level(p, p->depth - 1);
    if (more > UINT32_MAX - *count)
        return STEP_BAD;
    *count += (uint32_t)more;
    p->state = AT_TYPE;
    return STEP_ON;
}

/* A line with the number of elements has ended. */
static enum step open_elements(struct reply_parser *p)
{
    if (p->number > UINT32_MAX)
        return STEP_BAD;
    if (p->type == '|')
        return open_attribute(p);
    uint64_t count = p->type == '%' ? p->number * 2 : p->number;
    if (count > UINT32_MAX)
        return STEP_BAD;
    return count == 0 ? STEP_ELEMENT : open_array(p, (uint32_t)count);
}

/* A number's line has ended: what it says. */
static enum step use_number(struct reply_parser *p)
{
    if (p->type == ':')
        return STEP_ELEMENT;
    if (p->negative) /* null */
        return p->number == 1 && (p->type == '$' || p->type == '*') ? STEP_ELEMENT : STEP_BAD;
    if (p->type != '$' && p->type != '=' && p->type != '!')
        return open_elements(p);
    if (p->number > BODY_MAX)
        return STEP_BAD;
    p->left = p->number + 2;
    p->state = IN_BODY;
    return STEP_ON;
}

static enum step take_body(struct reply_parser *p, const char **at, const char *end)
{
    size_t have = (size_t)(end - *at);
    if (p->left > 2) {
        size_t skip = have < p->left - 2 ? have : (size_t)(p->left - 2);
        *at += skip;
        p->left -= skip;
        return STEP_ON;
    }
    if (*(*at)++ != (p->left == 2 ? '\r' : '\n'))
        return STEP_BAD;
    return --p->left == 0 ? STEP_ELEMENT : STEP_ON;
}

/* Takes at least one byte, and at most up to the end of an element. */
static enum step take(struct reply_parser *p, uint8_t expect, const char **at, const char *end)
{
    switch (p->state) {
    case AT_TYPE:
        return take_type(p, expect, *(*at)++);
    case IN_TEXT:
        return take_text(p, at, end);
    case TEXT_END:
        return *(*at)++ == '\n' ? STEP_ELEMENT : STEP_BAD;
    case IN_NUMBER:
        return take_digit(p, *(*at)++);
    case NUMBER_END:
        return *(*at)++ == '\n' ? use_number(p) : STEP_BAD;
    default:
        return take_body(p, at, end);
    }
}

/* As redis_reply_bulk(), of whatever form. */
static size_t any_bulk(struct span in)
{
    const char *c = in.ptr + 1;
    const char *end = in.ptr + in.len;
    uint64_t n = 0;
    if (in.len < 5 || in.ptr[0] != '$')
        return 0;
    if (*c == '-')
        return memcmp(in.ptr, "$-1\r\n", 5) == 0 ? 5 : 0;
    const char *most = end - c > DIGITS_MAX ? c + DIGITS_MAX : end;
    while (c < most && *c >= '0' && *c <= '9')
        n = n * 10 + (uint64_t)(*c++ - '0');
    size_t digits = (size_t)(c - in.ptr) - 1;
    if (digits == 0 || (digits > 1 && in.ptr[1] == '0') || end - c < 4 ||
        n > (uint64_t)(end - c) - 4)
        return 0;
    if (memcmp(c, "\r\n", 2) != 0 || memcmp(c + 2 + n, "\r\n", 2) != 0)
        return 0;
    return (size_t)(c + 4 + n - in.ptr);
}

size_t redis_reply_bulk(struct span in)
{
    uint32_t n = 0;
    uint32_t header = in.len < sizeof(uint64_t) ? 0 : header_read(word_load(in.ptr), '$', &n);
    if (header == 0)
        return any_bulk(in);
    size_t whole = (size_t)header + n + 2;
    return whole <= in.len && memcmp(in.ptr + whole - 2, "\r\n", 2) == 0 ? whole : 0;
}

/* The same of one of several, where `last` is the header of the one before. */
static inline size_t next_bulk(struct header *last, struct span in)
{
    if (in.len < sizeof(uint64_t) || !header_next(last, word_load(in.ptr), '$'))
        return any_bulk(in);
    size_t whole = (size_t)last->len + last->value + 2;
    return whole <= in.len && memcmp(in.ptr + whole - 2, "\r\n", 2) == 0 ? whole : 0;
}

size_t redis_reply_value(struct header *last, struct span in)
{
    size_t len = next_bulk(last, in);
    if (len == 0 && in.len >= 3 && memcmp(in.ptr, "_\r\n", 3) == 0)
        return 3;
    return len;
}

/* Bytes of the integer of common length, without a sign, that `in` begins with; else 0. */
static size_t quick_integer(struct span in)
{
    size_t len = 1;
    while (len < in.len && len < DIGITS_MAX && in.ptr[len] >= '0' && in.ptr[len] <= '9')
        len++;
    return len > 1 && in.len - len >= 2 && memcmp(in.ptr + len, "\r\n", 2) == 0 ? len + 2 : 0;
}

/* Bytes of an element of a common kind, whole at the front of `in`; 0 if it is no such one. */
static inline size_t quick_element(struct span in)
{
    if (in.ptr[0] == '$')
        return redis_reply_bulk(in);
    if (in.ptr[0] == ':')
        return quick_integer(in);
    return in.len >= 5 && memcmp(in.ptr, "+OK\r\n", 5) == 0 ? 5 : 0;
}

/* Takes elements of common kinds of the innermost array, up to the last one, which ends it. */
static const char *quick_elements(struct reply_parser *p, const char *at, const char *end)
{
    uint32_t *left = level(p, p->depth - 1);
    struct header h = HEADER_NONE;
    for (; *left > 1 && at < end; --*left) {
        struct span rest = span_of(at, (size_t)(end - at));
        size_t quick = *at == '$' ? next_bulk(&h, rest) : quick_element(rest);
        if (quick == 0)
            break;
        at += quick;
    }
    return at;
}

static enum parse done(struct reply_parser *p, size_t *used, size_t n)
{
    /* Whoever zeroes the parser next would lose it. */
    if (p->stack != NULL)
        free(p->stack);
    p->stack = NULL;
    *used = n;
    return PARSE_DONE;
}

bool redis_reply_is(enum reply_shape shape, char c)
{
    static const char *const marks[] = {
        [REPLY_ANY] = "",      [REPLY_STATUS] = "+", [REPLY_INTEGER] = ":",
        [REPLY_STRING] = "$_", [REPLY_ARRAY] = "*",  [REPLY_ELEMENTS] = "*~%_"};
    return c != '\0' && strchr(marks[shape], c) != NULL;
}

/* Does what comes first in the reply say that it is of another shape than `expect` has? An error can always come, and
 * so can what stands behind an attribute. */
slow_path static bool is_odd(const struct reply_parser *p, uint8_t expect, struct span in)
{
    if (in.len == 0 || p->state != AT_TYPE || p->depth > 0)
        return false;
    char c = in.ptr[0];
    must(expect >> 1 <= REPLY_ELEMENTS);
    return c != '-' && c != '!' && c != '|' && !redis_reply_is(expect >> 1, c);
}

/* Reads on wherever the parser stands. */
static enum parse parse_on(struct reply_parser *p, uint8_t expect, struct span in, size_t *used)
{
    const char *at = in.ptr;
    const char *end = in.ptr + in.len;
    *used = 0;
    if (expect > REPLY_RESP3 && is_odd(p, expect, in))
        return PARSE_BAD;
    while (at < end) {
        size_t quick = p->state == AT_TYPE ? quick_element(span_of(at, (size_t)(end - at))) : 0;
        at += quick;
        enum step step = quick > 0 ? STEP_ELEMENT : take(p, expect, &at, end);
        if (step == STEP_BAD) {
            *used = (size_t)(at - in.ptr);
            return PARSE_BAD;
        }
        if (step == STEP_ELEMENT && close_element(p))
            return done(p, used, (size_t)(at - in.ptr));
        if (p->state == AT_TYPE && p->depth > 0)
            at = quick_elements(p, at, end);
    }
    *used = in.len;
    return PARSE_MORE;
}

enum parse redis_reply_parse(struct reply_parser *p, uint8_t expect, struct span in, size_t *used)
{
    /* Most replies are one short element that came whole; the parser is not touched by it. */
    if (likely(p->state == AT_TYPE && p->depth == 0 && in.len > 0 && expect <= REPLY_RESP3)) {
        *used = quick_element(in);
        if (likely(*used > 0))
            return PARSE_DONE;
    }
    return parse_on(p, expect, in, used);
}

void redis_reply_reset(struct reply_parser *p)
{
    if (p->stack != NULL) /* it seldom is, and to call free() for each reply costs */
        free(p->stack);
    *p = (struct reply_parser){0};
}
