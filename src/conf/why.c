/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/why.h"

#include <stdarg.h>
#include <stdio.h>

/* Longer names are no misspelt keys. */
enum { NEAR_MAX = 40 };

bool why_not(struct why *why, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(why->text, sizeof(why->text), fmt, args);
    va_end(args);
    return false;
}

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Levenshtein's distance by Wagner and Fischer, one row at a time. */
static size_t distance(struct span a, struct span b)
{
    size_t row[NEAR_MAX + 1];

    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t above = row[j];

            row[j] = least(row[j - 1] + 1, above + 1, diagonal + (a.ptr[i - 1] != b.ptr[j - 1]));
            diagonal = above;
        }
    }
    return row[b.len];
}

static size_t common_prefix(struct span a, struct span b)
{
    size_t n = 0;

    while (n < a.len && n < b.len && a.ptr[n] == b.ptr[n])
        n++;
    return n;
}

/* The name whose beginning `got` may be, with two letters exchanged or wrong but the first: "fvn" is
 * hardly like "fnv1_64" as a whole. */
static const char *near_begin(struct span got, const char *const *names, size_t count)
{
    for (size_t i = 0; got.len >= 3 && i < count; i++) {
        struct span name = span_str(names[i]);

        if (name.len > got.len && name.ptr[0] == got.ptr[0] &&
            distance(got, span_of(name.ptr, got.len)) <= 2 && got.ptr[1] == name.ptr[2])
            return names[i];
    }
    return NULL;
}

const char *why_near(struct span got, const char *const *names, size_t count)
{
    const char *best = NULL;
    /* About one letter in three may be wrong: "rand" still finds "random", "md" finds "md5". */
    size_t limit = (got.len + 2) / 3 + 1;
    size_t prefix = 0;

    if (got.len == 0 || got.len > NEAR_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        struct span name = span_str(names[i]);
        size_t d = name.len > NEAR_MAX ? limit : distance(got, name);

        /* Of two that are equally near, the one that begins alike longer: people err late in a
         * word. */
        if (d < limit || (best != NULL && d == limit && common_prefix(got, name) > prefix)) {
            limit = d;
            prefix = common_prefix(got, name);
            best = names[i];
        }
    }
    return best == NULL ? near_begin(got, names, count) : best;
}

bool why_not_one(struct why *why, struct span got, const char *what, const char *const *names,
                 size_t count)
{
    char shown[SHOWN];
    const char *near = why_near(got, names, count);
    size_t at;

    if (near != NULL)
        why_not(why, "'%s' is not %s (did you mean '%s'? allowed: ", why_show(got, shown), what,
                near);
    else
        why_not(why, "'%s' is not %s (allowed: ", why_show(got, shown), what);
    for (size_t i = 0; i < count; i++) {
        at = strlen(why->text);
        snprintf(why->text + at, sizeof(why->text) - at, "%s%s", names[i],
                 i + 1 < count ? ", " : ")");
    }
    return false;
}

const char *why_show(struct span s, char out[SHOWN])
{
    static const char hex[] = "0123456789abcdef";
    size_t at = 0;
    size_t i = 0;

    /* Room is kept for one escape and the dots. */
    for (; i < s.len && i < 64 && at < SHOWN - 8; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c >= 0x20 && c != 0x7f) {
            out[at++] = s.ptr[i];
            continue;
        }
        out[at++] = '\\';
        out[at++] = 'x';
        out[at++] = hex[c >> 4];
        out[at++] = hex[c & 15];
    }
    if (i < s.len) {
        memcpy(out + at, "...", 3);
        at += 3;
    }
    out[at] = '\0';
    return out;
}
