/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit glob matches names against patterns as redis does: * ? [a-z] [^a-z] and \\ before a byte that is
 * meant itself; the case of letters does not matter. */
#ifndef PROTO_REDIS_GLOB_H
#define PROTO_REDIS_GLOB_H

#include <stdbool.h>

#include "base/span.h"

/** Does all of `text` match? The work is at most the product of both lengths. */
bool glob_match(struct span pattern, struct span text);

#endif
