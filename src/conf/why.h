/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit why is the reason for which a text was refused, as a sentence for people. */
#ifndef CONF_WHY_H
#define CONF_WHY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/must.h"
#include "base/span.h"

struct why {
    char text[1024]; /* cut if longer */
};

/** Writes the reason; always false, so that a parser can return it. */
bool why_not(struct why *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Refuses `got`, which is not one of `names`: "'got' is not <what> (did you mean 'x'? allowed: x,
 * y)". Always false. */
bool why_not_one(struct why *why, struct span got, const char *what, const char *const *names,
                 size_t count);

/** The name that `got` most likely was meant to be, or NULL if none is near. Distance is
 * Levenshtein's. */
const char *why_near(struct span got, const char *const *names, size_t count);

enum { SHOWN = 96 };

/** `s` as it may be shown: cut to 64 bytes, control characters as \xNN. Returns `out`. */
const char *why_show(struct span s, char out[SHOWN]);

#endif
