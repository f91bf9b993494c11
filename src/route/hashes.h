/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit hashes names the function behind each row of hashes.def, for hash.c alone to choose from.
 * They are never called with an empty key. */
#ifndef ROUTE_HASHES_H
#define ROUTE_HASHES_H

#include "route/hash.h"

#define HASH(name, symbol, text) hash_fn hash_##symbol;
#include "hashes.def"
#undef HASH

#endif
