/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit topology is how a pool knows which server holds a key. Each kind is one const vtable; its state is the worker's
 * view of the pool. */
#ifndef UPSTREAM_TOPOLOGY_H
#define UPSTREAM_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/must.h"
#include "base/span.h"

struct upstream;

/** What a request does with the keys it names. */
enum intent {
    INTENT_READ,
    INTENT_WRITE,
};

enum { SERVER_NONE = UINT32_MAX };

struct topology {
    const char *name;
    /** Begins to route for this worker. False if memory is out. */
    bool (*start)(struct upstream *up);
    /** What is in force now is what route() goes by until the next call: one request's keys see one
     * ring. */
    void (*begin)(struct upstream *up);
    /** The server for a key; SERVER_NONE if none can serve it now. */
    uint32_t (*route)(struct upstream *up, struct span key, enum intent intent);
    /** Must keys that one request names be on one server? */
    bool (*sharded)(const struct upstream *up);
    /** Ends it; also after a start that failed. */
    void (*stop)(struct upstream *up);
};

/** The servers of the configuration on a ring, without those that are ejected: twemproxy's. */
extern const struct topology topology_static;

#endif
