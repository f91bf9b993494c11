/* SPDX-License-Identifier: BSD-3-Clause */
#include "memory.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t skip_left;
static _Atomic uint64_t fail_left;
static _Atomic uint64_t failed;
static _Atomic uint64_t live;
static _Atomic uint64_t made;
static _Thread_local unsigned aside;

/* The linker gives calls of NAME to __wrap_NAME, and those of __real_NAME to the allocator. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t count, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_reallocarray(void *p, size_t count, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
void __wrap_free(void *p);
int __wrap_vasprintf(char **out, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));
int __wrap_asprintf(char **out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int __wrap___vasprintf_chk(char **out, int flag, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));
int __wrap___asprintf_chk(char **out, int flag, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

void memory_fail(uint64_t skip, uint64_t count)
{
    skip_left = skip;
    failed = 0;
    fail_left = count;
}

uint64_t memory_calm(void)
{
    fail_left = 0;
    return failed;
}

void memory_aside(void)
{
    aside++;
}

void memory_aside_end(void)
{
    aside--;
}

uint64_t memory_live(void)
{
    return live;
}

uint64_t memory_made(void)
{
    return made;
}

/* Must this allocation fail? With several threads the count may be off by a few. */
static bool refused(void)
{
    if (aside > 0)
        return false;
    made++;
    if (fail_left == 0)
        return false;
    if (skip_left > 0) {
        skip_left--;
        return false;
    }
    fail_left--;
    failed++;
    errno = ENOMEM;
    return true;
}

static void *born(void *p)
{
    live += p != NULL;
    return p;
}

void *__wrap_malloc(size_t n)
{
    return refused() ? NULL : born(__real_malloc(n));
}

void *__wrap_calloc(size_t count, size_t n)
{
    return refused() ? NULL : born(__real_calloc(count, n));
}

void *__wrap_realloc(void *p, size_t n)
{
    if (refused())
        return NULL;
    return p == NULL ? born(__real_realloc(p, n)) : __real_realloc(p, n);
}

void *__wrap_reallocarray(void *p, size_t count, size_t n)
{
    if (refused())
        return NULL;
    return p == NULL ? born(__real_reallocarray(p, count, n)) : __real_reallocarray(p, count, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return refused() ? NULL : born(__real_aligned_alloc(align, n));
}

char *__wrap_strdup(const char *s)
{
    return refused() ? NULL : born(__real_strdup(s));
}

char *__wrap_strndup(const char *s, size_t n)
{
    return refused() ? NULL : born(__real_strndup(s, n));
}

void __wrap_free(void *p)
{
    live -= p != NULL;
    __real_free(p);
}

/* What the C library allocates for itself is not wrapped: so these are made of what is. */
int __wrap_vasprintf(char **out, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    *out = len < 0 ? NULL : malloc((size_t)len + 1);
    return *out == NULL ? -1 : vsnprintf(*out, (size_t)len + 1, fmt, args);
}

int __wrap_asprintf(char **out, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = __wrap_vasprintf(out, fmt, args);
    va_end(args);
    return len;
}

int __wrap___vasprintf_chk(char **out, int flag, const char *fmt, va_list args)
{
    (void)flag;
    return __wrap_vasprintf(out, fmt, args);
}

int __wrap___asprintf_chk(char **out, int flag, const char *fmt, ...)
{
    va_list args;
    (void)flag;
    va_start(args, fmt);
    int len = __wrap_vasprintf(out, fmt, args);
    va_end(args);
    return len;
}
