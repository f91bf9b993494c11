/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit notify tells the service manager that started us how far we are: systemd's Type=notify, which is one datagram
 * to the unix socket that NOTIFY_SOCKET names. It is written out here because libsystemd would be a heavy thing to
 * depend on for one datagram. */
#ifndef RUN_NOTIFY_H
#define RUN_NOTIFY_H

#include "base/must.h"

/** Says that this process is the service's main one and serves. 0, also where nobody waits for it; or a negative errno,
 * which is no reason not to serve: -EINVAL if NOTIFY_SOCKET is neither a path nor an abstract name. */
must_check int notify_ready(void);

/** Says that the orderly end has begun. As notify_ready(). */
must_check int notify_stopping(void);

#endif
