/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit run is the process: it makes everything from the configuration, in the order in which a
 * failure can still be told to the one who started it, serves until it is told to end, and takes
 * everything down again. */
#ifndef RUN_RUN_H
#define RUN_RUN_H

#include <stdbool.h>

#include "base/must.h"
#include "conf/conf.h"

/** Runs the proxy with these settings of the process until its end. Returns the exit code: 0 after
 * an orderly end. What goes wrong before the log is open goes to stderr, with `program` before it.
 */
must_check int run(const struct conf *conf, const struct conf_global *set, const char *program);

/** Does the memory limit of these settings suffice for their workers? If not, stderr is told. */
must_check bool run_has_memory(const struct conf *conf, const struct conf_global *set);

#endif
