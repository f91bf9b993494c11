/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit session_ops is what the proxy asks of the floor above it: to carry out requests that need
 * something that lasts from one to the next. */
#ifndef PROXY_SESSION_OPS_H
#define PROXY_SESSION_OPS_H

#include <stdbool.h>

#include "proto/proto.h"
#include "proxy/client.h"
#include "proxy/request.h"

struct session_ops {
    /** Starts a REQUEST_SESSION, or any request of a transaction. */
    enum request_fate (*start)(struct client *c, const struct request_view *v);
    /** The client, which holds something, is gone or begins anew: gives it up. */
    void (*leave)(struct client *c);
    /** The process is to end: the client, which holds something, shall not wait on for what may never come. */
    void (*hurry)(struct client *c);
    /** The client, which holds something, sends no more: what it waits for it gets only if it comes soon. */
    void (*left)(struct client *c);
    /** Bytes that are held for the client, which holds something. */
    size_t (*memory)(const struct client *c);
    /** Why the client, which holds something, can't have that login now; NULL: it can. */
    const char *(*binds)(const struct client *c, const struct proto_login *login);
    /** Sets what the client, which holds something, is subscribed to, by enum topic_kind. */
    void (*subscribed)(const struct client *c, uint32_t counts[TOPIC_KINDS]);
    /** Frees what is held for a pool; it has no client any more. */
    void (*end)(struct front *front);
};

#endif
