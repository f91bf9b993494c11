/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/glob.h"

static char low(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Matches `c` against the set that begins at p[*at], behind its '['; leaves *at behind the set. A set
 * without an end ends with the pattern. */
static bool in_set(struct span p, size_t *at, char c)
{
    size_t i = *at;
    bool negated = i < p.len && p.ptr[i] == '^';
    bool found = false;
    for (i += negated; i < p.len && p.ptr[i] != ']'; i++) {
        if (p.ptr[i] == '\\' && i + 1 < p.len)
            i++;
        char first = low(p.ptr[i]);
        char last = first;
        if (i + 2 < p.len && p.ptr[i + 1] == '-') {
            last = low(p.ptr[i + 2]);
            i += 2;
        }
        found = found || (c >= first && c <= last) || (c >= last && c <= first);
    }
    *at = i < p.len ? i + 1 : i;
    return found != negated;
}

/* Matches one byte of text against what stands at p[*at], which is no '*'; leaves *at behind it. */
static bool match_one(struct span p, size_t *at, char c)
{
    char mark = p.ptr[(*at)++];
    if (mark == '?')
        return true;
    if (mark == '[')
        return in_set(p, at, low(c));
    if (mark == '\\' && *at < p.len)
        mark = p.ptr[(*at)++];
    return low(mark) == low(c);
}

bool glob_match(struct span pattern, struct span text)
{
    size_t p = 0;
    size_t t = 0;
    size_t star =
        SIZE_MAX; /* behind the last '*': the text that it takes grows until the rest fits */
    size_t taken = 0;
    while (t < text.len) {
        size_t next = p;
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = ++p;
            taken = t;
        } else if (p < pattern.len && match_one(pattern, &next, text.ptr[t])) {
            p = next;
            t++;
        } else if (star != SIZE_MAX) {
            p = star;
            t = ++taken;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}
