/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit commands reads the key `commands` of a pool: which commands its clients may use, and where the
 * keys of commands are that are in no table. */
#ifndef CONF_COMMANDS_H
#define CONF_COMMANDS_H

#include "conf/conf.h"
#include "conf/report.h"
#include "conf/tree.h"

/** Reads the mapping `node` into `out`, which is zeroed. What is wrong is reported. */
void commands_read(struct node node, struct conf_commands *out, struct report *report);

void commands_free(struct conf_commands *c);

#endif
