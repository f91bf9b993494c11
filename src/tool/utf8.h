/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit utf8 reads text that may be UTF-8 or any bytes, without a locale. */
#ifndef TOOL_UTF8_H
#define TOOL_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/** Reads the character at the front of `s`, which is not empty, into `out`; returns its bytes, or 0 if it is none
 * (RFC 3629: shortest form, no surrogates, up to U+10FFFF). */
size_t utf8_read(struct span s, uint32_t *out);

/** Is all of it UTF-8? */
bool utf8_is(struct span s);

#endif
