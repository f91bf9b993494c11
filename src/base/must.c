/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void must_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "cashew: %s:%d: %s\n", file, line, what);
    abort();
}
