/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit budget is the memory that a process may use, shared out to its threads in steps, so that they
 * meet at one counter only when the memory of one of them has changed by a step. */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdatomic.h>
#include <stddef.h>

enum { BUDGET_STEP = 1 << 20 };

/** Of the process; all threads. */
struct budget {
    size_t limit;
    unsigned threads; /* that share it */
    _Atomic size_t drawn;
};

/** What one thread has drawn of it. */
struct credit {
    struct budget *budget;
    size_t held; /* in whole steps */
};

static inline size_t budget_drawn(const struct budget *b)
{
    return atomic_load_explicit(&b->drawn, memory_order_relaxed);
}

/** Draws so many steps that `used` bytes are covered. More than the limit may be drawn: what cannot be
 * stopped goes on debt. */
void credit_draw(struct credit *c, size_t used);

/** Gives back what `used` bytes do not need; one step more is kept. */
void credit_settle(struct credit *c, size_t used);

/** Gives back everything. */
void credit_close(struct credit *c);

#endif
