/* SPDX-License-Identifier: BSD-3-Clause */
/* The rig of a program whose tests have one at a time, and its first servers. A test begins with rig_open() and is torn
 * down by close_rig(). */
#ifndef TESTS_PROXY_ONE_RIG_H
#define TESTS_PROXY_ONE_RIG_H

#include "rig.h"

static struct rig rig;
static struct rig *const r = &rig;

static inline struct fake *a(void)
{
    return &rig.fakes[0][0];
}

static inline struct fake *b(void)
{
    return &rig.fakes[0][1];
}

static inline int close_rig(void **state)
{
    (void)state;
    rig_close(r);
    return 0;
}

#endif
