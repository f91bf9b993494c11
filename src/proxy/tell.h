/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit tell answers the requests that ask about the client, its pool or the process: it gathers what
 * the floors of the proxy know, and the protocol says it in its own words. */
#ifndef PROXY_TELL_H
#define PROXY_TELL_H

#include "base/buf.h"
#include "base/must.h"
#include "proto/proto.h"
#include "proxy/client.h"
#include "proxy/request.h"

/** Answers a REQUEST_TELL, in its turn. */
must_check enum request_fate tell(struct client *c, const struct request_view *v);

/** Appends what tell() of the client's protocol says. False if memory is out. */
must_check bool tell_text(struct client *c, const struct request_view *v, struct buf *out);

#endif
