/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

_Noreturn void must_failed(const char *what, const char *file, int line)
{
    /* A daemon's stderr is nobody's. */
    if (log_fd() != STDERR_FILENO)
        log_always("%s:%d: %s", file, line, what);
    fprintf(stderr, "cashew: %s:%d: %s\n", file, line, what);
    abort();
}
