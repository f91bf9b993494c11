/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit writer appends replies of redis to a buffer: values one after the other, and one look at the
 * end whether memory was out. */
#ifndef PROTO_REDIS_WRITER_H
#define PROTO_REDIS_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

struct writer {
    struct buf *out;
    uint8_t resp; /* version of the protocol: 2 or 3 */
    bool failed;  /* memory was out: what was written is not whole */
};

/** Bytes as they are. */
void write_raw(struct writer *w, struct span s);

/** A bulk string. */
void write_bulk(struct writer *w, struct span s);

/** An integer. */
void write_integer(struct writer *w, int64_t n);

/** Begins an array of `n` elements, or a map of `n` pairs. */
void write_array(struct writer *w, uint64_t n);
void write_map(struct writer *w, uint64_t n);

/** Begins a set of `n` elements. */
void write_set(struct writer *w, uint64_t n);

/** Text for people to read. */
void write_verbatim(struct writer *w, struct span text);

/** No value. */
void write_null(struct writer *w);

/** Text as printf makes it, of at most 512 bytes; no value by itself. */
void write_text(struct writer *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
