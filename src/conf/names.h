/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit names finds names that stand twice where each may stand once. */
#ifndef CONF_NAMES_H
#define CONF_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/must.h"
#include "base/span.h"
#include "conf/report.h"

struct name {
    struct span text; /* somebody else's bytes, which must stay until names_check() */
    struct place at;
};

/* Starts as {0}. */
struct names {
    struct name *all;
    size_t count;
    size_t room;
};

/** False if memory is out. */
must_check bool names_add(struct names *n, struct span text, struct place at);

/** Reports each name that stood before, at the place of the later one: "<what> 'x' stands twice
 * (first in line 3)". Sorts the names. */
void names_check(struct names *n, const char *what, struct report *report);

void names_free(struct names *n);

#endif
