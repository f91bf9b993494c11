/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit identity keeps what a client called itself: its name, its library, and the version of that. Most
 * clients of a cache say none of it and cost nothing. */
#ifndef PROTO_REDIS_IDENTITY_H
#define PROTO_REDIS_IDENTITY_H

#include <stdbool.h>

#include "base/must.h"
#include "base/span.h"
#include "proto/proto.h"

enum identity_kind { IDENTITY_NAME, IDENTITY_LIB, IDENTITY_LIB_VERSION, IDENTITY_KINDS };

enum { IDENTITY_MAX = 4096 };

/** The name of that kind; "" if there is none. Valid until the next is set. */
struct span identity_get(const struct proto_session *ses, enum identity_kind kind);

/** The error for a name of a client that can't be one. */
#define IDENTITY_INVALID                                                                           \
    SPAN("-ERR Client names cannot contain spaces, newlines or special characters.\r\n")

/** Sets it (at most IDENTITY_MAX); "" forgets it. False if memory is out: nothing changed. */
must_check bool identity_set(struct proto_session *ses, enum identity_kind kind, struct span name);

/** As identity_set(), but nothing changes before identity_decide(), which also forgets it if it is not `good`. */
must_check bool identity_want(struct proto_session *ses, enum identity_kind kind, struct span name);
void identity_decide(struct proto_session *ses, bool good);

/** May it be a name? No blank, no line end, no control character, nothing but ASCII, as redis has it; and
 * not longer than IDENTITY_MAX. */
bool identity_valid(struct span name);

/** Forgets them all, what is wanted included. */
void identity_free(struct proto_session *ses);

#endif
