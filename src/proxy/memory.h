/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit memory keeps a worker within the memory_limit of its process. It counts by the meter of the
 * worker's loop and draws credit from the process's budget.
 *
 *   FREE -> TIGHT -> REFUSING, and from both back to FREE
 *
 * FREE      all is read
 * TIGHT     three quarters of the limit are drawn: no new request is read. One that came in part may
 *           come in whole up to seven eighths, since then its memory comes free
 * REFUSING  it was tight for a while and nothing came free: new requests are read and answered with an
 *           error
 *
 * If then still nothing comes free, or as soon as the limit is reached, the clients for whom most
 * memory is held are closed. Replies under way go on in any state, and servers are always read. */
#ifndef PROXY_MEMORY_H
#define PROXY_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "io/loop.h"

struct proxy;
struct client;

enum memory_state {
    MEMORY_FREE,
    MEMORY_TIGHT,
    MEMORY_REFUSING,
};

struct memory {
    struct credit credit; /* its budget is NULL: there is no limit */
    enum memory_state state;
    struct timer tick;   /* runs while much is held, or it is not FREE */
    struct turn_end act; /* does what can't be done where memory is taken */
    size_t lowest;       /* the least that was drawn since the last escalation */
    uint64_t since;      /* ms: when that was */
    bool some_wait;      /* there was no room for all whose request came in part */
};

/** Sets up a worker without a limit. */
void memory_init(struct memory *m);

/** Begins to obey the budget. */
void memory_begin(struct proxy *px, struct budget *budget);

/** Gives its credit back. Nothing that is counted may follow. */
void memory_end(struct proxy *px);

/** May the client's next bytes be read? `half`: they belong to a request that came in part. */
bool memory_lets_read(const struct memory *m, bool half);

/** Must a new request be refused? */
static inline bool memory_refuses(const struct memory *m)
{
    return m->state == MEMORY_REFUSING;
}

/** The largest request for which there may be room, bytes. */
static inline size_t memory_request_max(const struct memory *m)
{
    return m->credit.budget == NULL ? SIZE_MAX : m->credit.budget->limit / 4;
}

#endif
