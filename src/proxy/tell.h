/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit tell answers the requests that ask about the client, its pool or the process: it gathers what
 * the floors of the proxy know, and the protocol says it in its own words. */
#ifndef PROXY_TELL_H
#define PROXY_TELL_H

#include "proto/proto.h"
#include "proxy/client.h"

/** Answers a REQUEST_TELL, in its turn. */
void tell(struct client *c, const struct request_view *v);

#endif
