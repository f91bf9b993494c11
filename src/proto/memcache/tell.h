/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit tell answers `stats`: what the proxy knows of itself, its servers and its settings, in the
 * form of memcached's statistics. Those of a server are the server's to tell. */
#ifndef PROTO_MEMCACHE_TELL_H
#define PROTO_MEMCACHE_TELL_H

#include "proto/memcache/reading.h"

/** Reads `stats`. The words of the line are split. */
enum parse tell_read(struct reading *r);

/** As struct proto says. */
bool tell_answer(const struct request_view *v, struct proto_session *ses,
                 const struct proto_facts *facts, struct buf *out);

#endif
