/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit login is a client's change of user, database or version of the protocol. The request that asks
 * for it goes to a server on a connection that began with just that, and what the server says is the
 * answer; if it is no error the client's requests go by such connections from then on.
 *
 * Requests on one connection may be overtaken by those on another, so such a request waits until all
 * before it are answered, and those behind it wait for it. */
#ifndef PROXY_LOGIN_H
#define PROXY_LOGIN_H

#include "proto/proto.h"
#include "proxy/client.h"
#include "proxy/request.h"

/** A client comes: its login is the pool's. And it goes. */
void login_begin(struct client *c);
void login_end(struct client *c);

/** Starts a REQUEST_LOGIN. */
must_check enum request_fate login_start(struct client *c, const struct request_view *v);

#endif
