/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit subscribe carries out what clients ask about subscriptions. What they hear comes from unit hub. */
#ifndef SESSION_SUBSCRIBE_H
#define SESSION_SUBSCRIBE_H

#include "proto/proto.h"
#include "proxy/client.h"

struct subscriber;

/** Carries out a SESSION_SUBSCRIBE. `*who` is what the client holds, or NULL; it is set if that comes to
 * be. The client has no request open; it may be gone afterwards, and `who` with it. */
void subscribe(struct client *c, struct subscriber **who, const struct request_view *v);

/** Carries out a SESSION_UNSUBSCRIBE of a client that holds `who`, or NULL. As above. */
void unsubscribe(struct client *c, struct subscriber *who, const struct request_view *v);

/** Does it hold nothing any more? */
bool subscriber_is_idle(const struct subscriber *who);

/** Ends all subscriptions, and the request for some that is under way: it fails, since `why`. As above. */
void subscriber_stop(struct subscriber *who, const char *why);

/** Ends all and frees it; its client is gone. */
void subscriber_free(struct subscriber *who);

/** Why its client can't have that login now; NULL: it can. */
const char *subscriber_binds(const struct subscriber *who, const struct proto_login *login);

/** What it is subscribed to, by enum topic_kind. */
void subscriber_counts(const struct subscriber *who, uint32_t counts[TOPIC_KINDS]);

/** Bytes that are held for it. */
size_t subscriber_memory(const struct subscriber *who);

#endif
