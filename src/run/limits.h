/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit limits finds out how many clients the process has file descriptors for. */
#ifndef RUN_LIMITS_H
#define RUN_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/must.h"
#include "conf/conf.h"

/** Raises the soft limit of open files to the hard one, and takes away what the process needs for
 * itself: every server connection of every worker, a listener for each pool, and a reserve. What is
 * left is the number of clients, in
 * `*clients`. False if nothing is left: the reason is written to `errors`. */
must_check bool limits_clients(const struct conf *conf, unsigned workers, uint64_t *clients,
                               FILE *errors);

/** Is the memory limit one with which the workers can do their work? If not: the reason is written to
 * `errors`. 0 is no limit. */
must_check bool limits_memory(const struct conf *conf, const struct conf_global *set,
                              unsigned workers, FILE *errors);

/** Makes room in the kernel's table of open files for `clients` more, up to 65,536 (half a MiB).
 * Otherwise the table grows by doubling, and the kernel lets a process with threads wait some 10 ms
 * each time, in the middle of a rush of clients. So it is called before there are threads, and
 * after a fork, which leaves the room behind. Harmless if it fails. */
void limits_make_room(uint64_t clients);

#endif
