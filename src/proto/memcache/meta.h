/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit meta reads the meta commands: mg, ms, md, ma and me. Their flags are the servers' to judge,
 * so that those of newer ones need no change here. Three things are ours: `q`, which is taken out,
 * since a server that is silent would leave us without an end of its reply; `b`, since a key is
 * routed by its own bytes however it was written; and how many bytes a request takes. */
#ifndef PROTO_MEMCACHE_META_H
#define PROTO_MEMCACHE_META_H

#include "proto/memcache/reading.h"

/** Reads mg, md or ma. The words of the line are split. */
enum parse meta_read(struct reading *r);
enum parse meta_read_set(struct reading *r);
enum parse meta_read_debug(struct reading *r);

/** As struct proto says; `hush` is the reply_expect of a command that had a `q`. */
bool meta_unheard(uint8_t hush, struct span head);

#endif
