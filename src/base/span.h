/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit span is a piece of somebody else's bytes: a pointer and a length, passed by value. It owns
 * nothing and is not NUL-terminated; NUL strings live only at the edge to the operating system. */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const char *ptr;
    size_t len;
};

/** A span over a string literal. */
#define SPAN(literal) ((struct span){"" literal, sizeof(literal) - 1})

static inline struct span span_of(const char *ptr, size_t len)
{
    return (struct span){ptr, len};
}

/** A span over a NUL-terminated string, without the NUL. */
static inline struct span span_str(const char *s)
{
    return (struct span){s, strlen(s)};
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/** The part of `s` from byte `from` (at most s.len) to its end. */
static inline struct span span_from(struct span s, size_t from)
{
    /* An empty span may have no pointer, and C has no NULL + 0. */
    return from == 0 ? s : (struct span){s.ptr + from, s.len - from};
}

/** Equal? Takes a time that depends on the lengths only, not on where the first difference is. */
bool span_eq_secret(struct span given, struct span secret);

/** Equal but for ASCII case; locale never matters. */
bool span_ieq(struct span a, struct span b);

/** Reads all of `s` as a decimal number without sign. False if it is empty, has another byte, or is
 * over `max`. */
bool span_u64(struct span s, uint64_t max, uint64_t *out);

#endif
