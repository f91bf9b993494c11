/* SPDX-License-Identifier: BSD-3-Clause */
#include "pools.h"

#include <stdio.h>
#include <string.h>

struct test_pool pool_of(const char *keys)
{
    char text[4096];
    struct test_pool p;
    snprintf(text, sizeof(text), "p: {listen: 127.0.0.1:1, %s}\n", keys);
    p.conf = conf_parse("test.yml", text, strlen(text), stderr);
    must(p.conf != NULL);
    p.spread = spread_new(&p.conf->pools[0]);
    must(p.spread != NULL);
    return p;
}

void pool_gone(struct test_pool *p)
{
    spread_free(p->spread);
    conf_free(p->conf);
}
