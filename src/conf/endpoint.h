/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit endpoint reads addresses as they are written in `listen` and `servers`. Names are not
 * resolved. */
#ifndef CONF_ENDPOINT_H
#define CONF_ENDPOINT_H

#include <stdbool.h>

#include "base/must.h"
#include "base/span.h"
#include "conf/conf.h"
#include "conf/why.h"

/** Reads "host:port" or "/path [octal permissions]" into `out`. False: the reason is in `why`,
 * `out` is empty. */
must_check bool endpoint_listen(struct span text, struct conf_endpoint *out, struct why *why);

/** Reads "host:port:weight [name]" or "/path:weight [name]" into `out`. False: the reason is in
 * `why`, `out` is empty. */
must_check bool endpoint_server(struct span text, struct conf_server *out, struct why *why);

void endpoint_free(struct conf_endpoint *e);
void endpoint_server_free(struct conf_server *s);

#endif
