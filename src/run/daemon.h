/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit daemon puts the process into the background and keeps its pid file. Whoever starts it waits
 * until it serves or has failed, and gets its exit code and what it said on stderr. */
#ifndef RUN_DAEMON_H
#define RUN_DAEMON_H

#include "base/must.h"

/** Forks twice, into a session of its own; umask is 0, the working directory stays. Must come
 * before any thread. Returns 0 in the daemon only, whose standard descriptors stay until
 * daemon_ready(); the process that called it ends when the daemon is ready, with 0, or when it
 * ended before, with its exit code. A negative errno: still in the foreground. */
must_check int daemon_start(void);

/** Says that the daemon serves, and turns its standard descriptors to /dev/null. Does nothing in
 * the foreground. */
void daemon_ready(void);

/** Writes our pid to the file, in place of what a process before us left there. 0 or a negative
 * errno. */
must_check int pid_file_write(const char *path);

/** Removes the file if it still holds our pid; the log is told if that fails. */
void pid_file_remove(const char *path);

#endif
