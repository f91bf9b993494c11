/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit script sees to it that a script that clients have loaded is where it is called. A call goes out behind a
 * request that loads it, unless that has gone the same way before: so the server has it, whatever became of the one
 * that had it, and nothing is asked twice or overtakes. */
#ifndef PROXY_SCRIPT_H
#define PROXY_SCRIPT_H

#include "proto/proto.h"
#include "proxy/client.h"
#include "proxy/request.h"

/** Looks at a REQUEST_SCRIPT. True: it was started, and `*fate` says how. Else it is to be treated as any other
 * request, for all servers or by its keys. */
must_check bool script_start(struct client *c, const struct request_view *v,
                             enum request_fate *fate);

#endif
