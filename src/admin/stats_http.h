/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit stats_http answers HTTP on connections that somebody else accepted: GET / is the numbers as
 * JSON. It has no thread of its own; its owner polls a descriptor and lets it run. */
#ifndef ADMIN_STATS_HTTP_H
#define ADMIN_STATS_HTTP_H

#include "base/must.h"
#include "stats/stats.h"

struct stats_http;

/** NULL if it can't be had (no memory, no descriptors). `stats` must outlive it. */
must_check struct stats_http *stats_http_open(const struct stats *stats);
void stats_http_close(struct stats_http *h);

/** Takes over a connected, non-blocking socket, whatever it says or said. When it has many, the
 * oldest is closed. */
void stats_http_adopt(struct stats_http *h, int fd);

/** Call stats_http_run() when this descriptor is readable... */
int stats_http_fd(const struct stats_http *h);

/** ...and after this many milliseconds; -1: never. */
int stats_http_timeout(struct stats_http *h);

/** Does what is to be done now; never blocks. */
void stats_http_run(struct stats_http *h);

#endif
