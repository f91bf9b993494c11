/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit pools makes pools for the tests of the tools. */
#ifndef TESTS_TOOL_POOLS_H
#define TESTS_TOOL_POOLS_H

#include "conf/conf.h"
#include "tool/spread.h"

struct test_pool {
    struct conf *conf;
    struct spread *spread;
};

/** A pool with these keys, in flow style: "hash: md5, servers: [a:1:1]". */
struct test_pool pool_of(const char *keys);

void pool_gone(struct test_pool *p);

#endif
