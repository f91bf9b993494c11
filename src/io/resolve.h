/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit resolve looks names up with getaddrinfo() on a thread of its own, since that call blocks,
 * and brings the results back to the loop. One thread serves a loop; it starts with the first
 * look-up. */
#ifndef IO_RESOLVE_H
#define IO_RESOLVE_H

#include <stdint.h>

#include "base/must.h"
#include "io/loop.h"

struct resolver;

/** As loop_lookup(). The first look-up of a loop makes its resolver, `*r`, which was NULL. */
must_check int resolver_lookup(struct resolver **r, struct loop *l, struct lookup *k,
                               const char *host, uint16_t port);

/** As loop_lookup_cancel(); harmless when the look-up is over. */
void resolver_cancel(struct lookup *k);

/** Ends the thread. A getaddrinfo() under way is not waited for, since it may take many seconds:
 * its thread then ends by itself. Every look-up must be over or cancelled. `r` may be NULL. */
void resolver_free(struct resolver *r);

#endif
