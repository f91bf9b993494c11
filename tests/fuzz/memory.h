/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit memory stands between a test program and its allocator: any allocation can be made to fail by its number, and what
 * is not given back is counted. The program must be linked with the options of memory_wrap in meson.build; what shared
 * libraries allocate for themselves goes by unseen. */
#ifndef TESTS_FUZZ_MEMORY_H
#define TESTS_FUZZ_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/** After `skip` allocations that work, the next `count` fail. */
void memory_fail(uint64_t skip, uint64_t count);

/** Allocations work from now on; returns how many have failed since memory_fail(). */
uint64_t memory_calm(void);

/** Between the two, which nest, allocations always work and do not count for memory_fail(): for a test's own, in the
 * middle of what it tests. */
void memory_aside(void);
void memory_aside_end(void);

/** Allocations that were not freed yet. */
uint64_t memory_live(void);

/** Allocations made so far, but for those aside: to compare work. */
uint64_t memory_made(void);

#endif
