/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/args.h"

#include <stdlib.h>

enum { FIRST = 32 };

bool args_grow(struct args *a)
{
    if (a->cap > UINT32_MAX / 2)
        return false;
    uint32_t cap = a->cap == 0 ? FIRST : a->cap * 2;
    struct arg *v = realloc(a->v, (size_t)cap * sizeof(*v));
    if (v == NULL)
        return false;
    a->v = v;
    a->cap = cap;
    return true;
}

void args_free(struct args *a)
{
    free(a->v);
    *a = (struct args){0};
}
