/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/budget.h"

static size_t steps(size_t bytes)
{
    return (bytes + BUDGET_STEP - 1) / BUDGET_STEP * BUDGET_STEP;
}

void credit_draw(struct credit *c, size_t used)
{
    size_t want = steps(used);
    if (want <= c->held)
        return;
    atomic_fetch_add_explicit(&c->budget->drawn, want - c->held, memory_order_relaxed);
    c->held = want;
}

void credit_settle(struct credit *c, size_t used)
{
    size_t want = steps(used) + BUDGET_STEP;
    if (want >= c->held)
        return;
    atomic_fetch_sub_explicit(&c->budget->drawn, c->held - want, memory_order_relaxed);
    c->held = want;
}

void credit_close(struct credit *c)
{
    if (c->budget != NULL)
        atomic_fetch_sub_explicit(&c->budget->drawn, c->held, memory_order_relaxed);
    c->held = 0;
}
