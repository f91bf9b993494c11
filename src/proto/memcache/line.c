/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/line.h"

#include <string.h>

/* A number as strtol and its kin read it. */
struct number {
    uint64_t magnitude;
    bool negative;
};

struct line line_cut(struct span in, const char *lf)
{
    size_t len = (size_t)(lf - in.ptr);
    struct line l = {.len = (uint32_t)(len + 1)};
    /* memcached does not take the CR of an empty line away; it is then a word, and no command. */
    bool crlf = len > 1 && in.ptr[len - 1] == '\r';
    if (crlf)
        len--;
    const char *nul = memchr(in.ptr, '\0', len);
    l.strict = crlf && nul == NULL;
    l.text = (struct span){in.ptr, nul == NULL ? len : (size_t)(nul - in.ptr)};
    return l;
}

void line_split(struct span text, struct words *out)
{
    while (out->count < LINE_WORDS && line_word(&text, &out->v[out->count]))
        out->count++;
}

/* isspace() of the C locale, which is the one memcached runs in. */
static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The form that nearly every number has: digits, so few that nothing can overflow. */
static bool short_number(struct span word, uint64_t *out)
{
    if (word.len == 0 || word.len > 18)
        return false;
    uint64_t n = 0;
    for (size_t i = 0; i < word.len; i++) {
        if (word.ptr[i] < '0' || word.ptr[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(word.ptr[i] - '0');
    }
    *out = n;
    return true;
}

/* Reads white space, a sign, digits, and whatever follows behind white space. */
static bool scan_number(struct span word, struct number *out)
{
    size_t i = 0;
    while (i < word.len && is_space(word.ptr[i]))
        i++;
    out->negative = i < word.len && word.ptr[i] == '-';
    if (i < word.len && (word.ptr[i] == '-' || word.ptr[i] == '+'))
        i++;
    size_t digits = i;
    uint64_t n = 0;
    for (; i < word.len && word.ptr[i] >= '0' && word.ptr[i] <= '9'; i++) {
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(word.ptr[i] - '0'), &n))
            return false;
    }
    out->magnitude = n;
    return i > digits && (i == word.len || is_space(word.ptr[i]));
}

bool line_i32(struct span word, int32_t *out, bool *plain)
{
    uint64_t n;
    if (short_number(word, &n)) {
        *plain = *plain && n <= INT32_MAX;
        *out = (int32_t)(uint32_t)n;
        return true;
    }
    struct number number;
    *plain = false;
    if (!scan_number(word, &number) ||
        number.magnitude > (uint64_t)INT64_MAX + (number.negative ? 1 : 0))
        return false;
    n = number.negative ? 0 - number.magnitude : number.magnitude;
    *out = (int32_t)(uint32_t)n;
    return true;
}

bool line_u64(struct span word, uint64_t *out, bool *plain)
{
    if (short_number(word, out))
        return true;
    *plain = false;
    struct number number;
    if (!scan_number(word, &number))
        return false;
    *out = number.negative ? 0 - number.magnitude : number.magnitude;
    /* strtoull takes a sign; memcached looks for one, anywhere in the word, only if the result has
     * its highest bit set. */
    return *out <= INT64_MAX || memchr(word.ptr, '-', word.len) == NULL;
}

bool line_u32(struct span word, uint32_t *out, bool *plain)
{
    uint64_t n;
    if (!line_u64(word, &n, plain))
        return false;
    *plain = *plain && n <= UINT32_MAX;
    *out = (uint32_t)n;
    return true;
}
