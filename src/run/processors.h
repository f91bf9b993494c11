/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit processors says how many processors this process may keep busy: those it may run on, and no
 * more than its control groups give it time for. */
#ifndef RUN_PROCESSORS_H
#define RUN_PROCESSORS_H

/** At least 1. `root` stands before every path that is read: "" except in tests.
 *
 * A limit of time is rounded down: who has used it up stands still until its period (mostly 100 ms)
 * is over, so threads that can use up more than it are worse than none. */
unsigned processors_allowed(const char *root);

/** The part of it that the control groups say, by what /proc/self/cgroup and the files of version 1
 * (cpu.cfs_quota_us) and 2 (cpu.max) say under `root`: the least of the process's own group and all
 * above it; `most` if they set no limit. */
unsigned processors_by_groups(const char *root, unsigned most);

#endif
