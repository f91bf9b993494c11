/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit watch reads from /proc what processes have used. */
#ifndef BENCH_WATCH_H
#define BENCH_WATCH_H

#include <stdint.h>
#include <sys/types.h>

/** CPU time in ns of all living threads of a process; 0 if it is gone. */
uint64_t watch_cpu(pid_t pid);

/** Resident memory of a process in bytes; 0 if it is gone. */
uint64_t watch_rss(pid_t pid);

/** CPU time in ns that all processors together were busy since the machine started; counted by the
 * kernel in its ticks, of mostly 10 ms. */
uint64_t watch_machine(void);

/** The monotonic clock in ns. */
uint64_t watch_clock(void);

#endif
