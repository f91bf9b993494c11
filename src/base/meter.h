/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit meter counts the memory of one thread that comes and goes with the traffic, so that a limit can
 * be kept and that it can be told how much was needed of late. A zeroed meter has no limit. */
#ifndef BASE_METER_H
#define BASE_METER_H

#include <stddef.h>

struct meter {
    size_t used; /* bytes counted now */
    size_t high; /* the most since somebody set it to `used` */
    size_t mark; /* above it `over` is called, if there is one */
    /** `used` is above the mark. Called from wherever memory is taken: it may raise the mark and take
     * notes, and must not free anything that is counted. */
    void (*over)(struct meter *m);
    void *owner; /* for `over` */
};

static inline void meter_add(struct meter *m, size_t bytes)
{
    m->used += bytes;
    if (m->used > m->high)
        m->high = m->used;
    if (m->used > m->mark && m->over != NULL)
        m->over(m);
}

static inline void meter_sub(struct meter *m, size_t bytes)
{
    m->used -= bytes;
}

/** What took `before` bytes takes `after` bytes now. */
static inline void meter_move(struct meter *m, size_t before, size_t after)
{
    if (after > before)
        meter_add(m, after - before);
    else
        meter_sub(m, before - after);
}

#endif
