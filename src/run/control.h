/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit control is what the main thread does while the workers serve: it waits for signals, and for
 * the workers' end. No signal interrupts any other thread. */
#ifndef RUN_CONTROL_H
#define RUN_CONTROL_H

#include "base/must.h"

struct control {
    int signal_fd;
    int finished_fd;
};

struct control_ops {
    void (*stop)(void *arg); /* begins the orderly end and returns; called at most once */
    void *arg;
    int shutdown_timeout_ms; /* how long the orderly end may take; -1: as long as it takes */
};

/** Takes the process's signals for control_run(): SIGPIPE is ignored, a crash is told to the log
 * before it goes its way, the others are blocked and wait. Call it once, after becoming a daemon
 * and before any thread starts, since threads inherit what is blocked. 0 or a negative errno. */
must_check int control_open(struct control *c);

/** Serves signals until the process is to end. 0: all ended in order, control_finished() was
 * called. 1: it has to end at once, since it was told twice or the orderly end took too long;
 * threads still run then, so that nothing of theirs may be freed: call _exit(). */
must_check int control_run(struct control *c, const struct control_ops *ops);

/** Tells control_run() that all has ended. Any thread, also before control_run() is called. */
void control_finished(struct control *c);

/** Closes its descriptors; signals stay blocked. */
void control_close(struct control *c);

#endif
