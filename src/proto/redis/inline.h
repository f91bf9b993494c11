/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit inline reads a request that is a line of words, as a person types it, by the quoting rules
 * of redis: words between blanks; "..." with \n \r \t \b \a \xHH and \ before any other byte; '...'
 * with \' only; a closing quote ends its word and must be followed by a blank or the end. */
#ifndef PROTO_REDIS_INLINE_H
#define PROTO_REDIS_INLINE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/must.h"
#include "base/span.h"
#include "proto/args.h"

enum inline_result { INLINE_OK, INLINE_UNBALANCED, INLINE_NO_MEMORY };

/** Appends the words of `line` (no NUL within) to the empty `out` as a request in RESP, and their
 * places in it to `args`. A line of blanks has none, and nothing is appended. */
must_check enum inline_result inline_convert(struct span line, struct buf *out, struct args *args);

#endif
