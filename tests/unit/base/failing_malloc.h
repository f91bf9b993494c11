/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit failing_malloc lets allocations fail when a test wants it. A program that is linked with it
 * passes -Wl,--wrap=malloc and so on for calloc, realloc and reallocarray. */
#ifndef TESTS_FAILING_MALLOC_H
#define TESTS_FAILING_MALLOC_H

#include <stddef.h>

/** After `allowed` more allocations every one fails. */
void failing_malloc_after(size_t allowed);

/** No allocation fails any more; returns how many have failed. */
size_t failing_malloc_off(void);

#endif
