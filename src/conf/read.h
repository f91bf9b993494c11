/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit read turns the tree of a file into a struct conf and reports all that is wrong with it. */
#ifndef CONF_READ_H
#define CONF_READ_H

#include <stdbool.h>

#include "conf/conf.h"
#include "conf/report.h"
#include "conf/tree.h"

/** Fills `c`, whose global settings have their defaults. What is wrong goes to `report`; `c` may be
 * freed in any case. */
void read_conf(const struct tree *tree, struct conf *c, struct report *report);

#endif
