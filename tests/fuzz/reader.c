/* SPDX-License-Identifier: BSD-3-Clause */
#include "reader.h"

#include <stdint.h>
#include <string.h>

/* The line at byte `*at`, without its CR LF, which it steps over. A CR within it ends it for nobody. */
static enum reading line(struct span in, size_t *at, struct span *out)
{
    const char *start = in.ptr + *at;
    const char *lf = in.len > *at ? memchr(start, '\n', in.len - *at) : NULL;
    if (lf == NULL)
        return READING_PART;
    if (lf == start || lf[-1] != '\r')
        return READING_WRONG;
    *out = span_of(start, (size_t)(lf - start) - 1);
    *at += (size_t)(lf - start) + 1;
    return READING_WHOLE;
}

/* A decimal number as a machine writes it. */
static bool number(struct span s, uint64_t *out)
{
    *out = 0;
    if (s.len == 0 || s.len > 18 || (s.len > 1 && s.ptr[0] == '0'))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    return true;
}

/* `n` bytes and CR LF at byte `*at`, which it steps over. */
static enum reading body(struct span in, size_t *at, uint64_t n, struct span *out)
{
    if (in.len - *at < 2 || in.len - *at - 2 < n)
        return READING_PART;
    *out = span_of(in.ptr + *at, (size_t)n);
    *at += (size_t)n + 2;
    return memcmp(in.ptr + *at - 2, "\r\n", 2) == 0 ? READING_WHOLE : READING_WRONG;
}

enum reading read_redis_request(struct span in, struct reading_request *out)
{
    struct span text;
    struct span word;
    uint64_t count = 0;
    uint64_t n = 0;
    out->len = 0;
    out->meta = false;
    enum reading got = line(in, &out->len, &text);
    if (in.len > 0 && in.ptr[0] != '*')
        return READING_WRONG;
    if (got == READING_WHOLE && (!number(span_from(text, 1), &count) || count == 0))
        return READING_WRONG;
    for (out->count = 0; got == READING_WHOLE && out->count < count; out->count++) {
        got = line(in, &out->len, &text);
        if (got != READING_WHOLE)
            return got;
        if (text.len == 0 || text.ptr[0] != '$' || !number(span_from(text, 1), &n))
            return READING_WRONG;
        got = body(in, &out->len, n, &word);
        if (out->count < READER_WORDS)
            out->words[out->count] = word;
    }
    return got;
}

static bool is(struct span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.ptr, text, s.len) == 0;
}

/* Words parted by one or more blanks. */
static void split(struct span text, struct reading_request *out)
{
    size_t from = 0;
    out->count = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.ptr[i] != ' ')
            continue;
        if (i > from && out->count < READER_WORDS)
            out->words[out->count++] = span_of(text.ptr + from, i - from);
        from = i + 1;
    }
}

/* May the last word be `noreply`? It is a key of these like any other. */
static bool names_keys(struct span command)
{
    return is(command, "get") || is(command, "gets") || is(command, "gat") || is(command, "gats");
}

/* The word that says how long the data block is; 0: there is none. */
static size_t length_word(const struct reading_request *r)
{
    static const char *const storing[] = {"set", "add", "replace", "append", "prepend", "cas"};
    if (is(r->words[0], "ms"))
        return 2;
    for (size_t i = 0; i < sizeof(storing) / sizeof(storing[0]); i++)
        if (is(r->words[0], storing[i]))
            return 4;
    return 0;
}

enum reading read_memcache_request(struct span in, struct reading_request *out)
{
    struct span text;
    uint64_t n = 0;
    out->len = 0;
    enum reading got = line(in, &out->len, &text);
    if (got != READING_WHOLE)
        return got;
    split(text, out);
    if (out->count == 0 || memchr(text.ptr, '\0', text.len) != NULL)
        return READING_WRONG;
    out->meta = out->words[0].len == 2 && out->words[0].ptr[0] == 'm';
    /* Who says noreply gets none, and the proxy waits for one. */
    if (!out->meta && out->count > 1 && !names_keys(out->words[0]) &&
        is(out->words[out->count - 1], "noreply"))
        return READING_WRONG;
    size_t at = length_word(out);
    if (at == 0)
        return READING_WHOLE;
    if (out->count <= at || !number(out->words[at], &n))
        return READING_WRONG;
    if (out->count == READER_WORDS)
        return READING_WRONG;
    enum reading block = body(in, &out->len, n, &out->words[out->count++]);
    /* A memcached takes the block of `ms` by its length alone, and refuses it if its end is wrong. */
    return out->meta && block == READING_WRONG ? READING_WHOLE : block;
}

/* How many elements follow the one whose line is `text`; a body is stepped over. */
static enum reading element(struct span in, size_t *at, uint64_t *more)
{
    struct span text;
    struct span bytes;
    uint64_t n = 0;
    enum reading got = line(in, at, &text);
    *more = 0;
    if (got != READING_WHOLE || text.len == 0)
        return got == READING_WHOLE ? READING_WRONG : got;
    char type = text.ptr[0];
    text = span_from(text, 1);
    if (strchr("+-:_,#(", type) != NULL && type != '\0')
        return READING_WHOLE;
    if (strchr("$!=*%~>|", type) == NULL || type == '\0')
        return READING_WRONG;
    if (is(text, "-1"))
        return READING_WHOLE;
    if (!number(text, &n))
        return READING_WRONG;
    if (type == '$' || type == '!' || type == '=')
        return body(in, at, n, &bytes);
    /* An attribute comes before what it is about. */
    *more = type == '%' ? 2 * n : type == '|' ? 2 * n + 1 : n;
    return READING_WHOLE;
}

enum reading read_redis_reply(struct span in, size_t *len)
{
    uint64_t left = 1;
    *len = 0;
    while (left > 0) {
        uint64_t more = 0;
        enum reading got = element(in, len, &more);
        if (got != READING_WHOLE)
            return got;
        left += more - 1;
        if (left > UINT32_MAX * UINT64_C(4))
            return READING_PART;
    }
    return READING_WHOLE;
}

enum reading read_memcache_reply(struct span in, bool values, size_t *len)
{
    struct reading_request r;
    struct span text;
    struct span data;
    uint64_t n = 0;
    *len = 0;
    for (;;) {
        enum reading got = line(in, len, &text);
        if (got != READING_WHOLE)
            return got;
        if (text.len >= 5 && memcmp(text.ptr, "STAT ", 5) == 0)
            continue;
        if (text.len >= 4 && memcmp(text.ptr, "VA ", 3) == 0) {
            split(text, &r);
            return number(r.words[1], &n) ? body(in, len, n, &data) : READING_WRONG;
        }
        if (!values || text.len < 6 || memcmp(text.ptr, "VALUE ", 6) != 0)
            return READING_WHOLE;
        split(text, &r);
        if (r.count < 4 || r.count > 5 || !number(r.words[3], &n))
            return READING_WRONG;
        got = body(in, len, n, &data);
        if (got != READING_WHOLE)
            return got;
    }
}
