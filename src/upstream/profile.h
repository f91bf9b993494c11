/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit profile is the connections of one worker to the servers of a pool that began with the same
 * login: the version of the protocol, the user, the database. What one of them says about a request
 * holds for no other, so clients share connections only within a profile. The pool's own profile is
 * what the configuration says; others come with the clients that ask for them, and go some time after
 * the last of those. */
#ifndef UPSTREAM_PROFILE_H
#define UPSTREAM_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/must.h"
#include "proto/proto.h"

struct conn_slot;
struct private;
struct upstream;

enum {
    PROFILES_MAX =
        64, /* in use, of a pool in one worker; those with the pool's own login come on top */
    PROFILE_LINGER_MS = 10000, /* how long the connections of an unused one stay open */
};

struct profile {
    struct list link; /* in upstream.profiles */
    struct upstream *up;
    struct proto_login login; /* its spans are the profile's own; the pool's profile: the pool's */
    struct conn_slot *slots;  /* server_connections of each server */
    uint32_t users;           /* clients that hold it */
    uint32_t conns;           /* connections that are not freed yet */
    uint32_t open;            /* ... of which so many are not being closed */
    uint64_t unused_at;       /* ms: when its last user left */
};

/** Which connections the requests of a client go by. */
struct lane {
    struct profile *profile;
    struct private *own; /* which serves for its server; NULL: none */
    uint32_t
        keep; /* chooses among several connections to a server: the same number, the same one */
};

/** Makes the pool's own profile, which lives as long as `up`. False if memory is out. */
must_check bool profile_begin(struct upstream *up);

/** The profile with that login, for profile_leave(); its spans are copied. NULL if there is none and
 * none can be made: up->reason says why. */
must_check struct profile *profile_hold(struct upstream *up, const struct proto_login *login);
void profile_leave(struct profile *p);

/** Something is unused: sees to it that it goes in time. */
void profiles_watch(struct upstream *up);

/** Frees the profiles; no connection may be left. */
void profiles_free(struct upstream *up);

#endif
