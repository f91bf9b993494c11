/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit advice knows what is odd about how a pool places its keys, in words. */
#ifndef TOOL_ADVICE_H
#define TOOL_ADVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "tool/spread.h"

struct advice {
    bool warning; /* else a note */
    char text[400];
};

enum { ADVICE_MAX = 3 };

/** Fills `out` with what is to be said of one pool; returns how much it is. */
size_t advice_of_pool(const struct spread *s, struct advice out[ADVICE_MAX]);

/** As above, of a change from one pool to the other. */
size_t advice_of_change(const struct spread *old, const struct spread *new,
                        struct advice out[ADVICE_MAX]);

#endif
