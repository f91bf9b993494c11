/* SPDX-License-Identifier: BSD-3-Clause */
#include "failing_malloc.h"

#include <stdbool.h>
#include <stdint.h>

static size_t left = SIZE_MAX;
static size_t failed;

/* The linker gives these names to the allocator's own functions, and to ours those that the program
 * calls. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);

void failing_malloc_after(size_t allowed)
{
    left = allowed;
    failed = 0;
}

size_t failing_malloc_off(void)
{
    left = SIZE_MAX;
    return failed;
}

static bool allowed(void)
{
    if (left == 0) {
        failed++;
        return false;
    }
    left -= left != SIZE_MAX;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return allowed() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allowed() ? __real_calloc(count, size) : NULL;
}

void *__wrap_realloc(void *old, size_t size)
{
    return allowed() ? __real_realloc(old, size) : NULL;
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    return allowed() ? __real_reallocarray(old, count, size) : NULL;
}
